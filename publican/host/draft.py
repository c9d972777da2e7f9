"""The draft model beside a model: whether it can be one, where it lies, and what its executor is told.

Blocks on headers and vocabularies, on a thread; loads nothing. Called by `host.library`, and by `publican fit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from publican.core.errors import OutOfMemory, UnsupportedModel
from publican.core.model import Checkpoint
from publican.core.tokenizer import Vocabulary
from publican.hardware.engines import shared_bytes
from publican.hardware.machine import Machine
from publican.hardware.plan import beside
from publican.hardware.planner import SHORTEST_CONTEXT
from publican.hardware.sizes import shown
from publican.hardware.slots import MOST_SLOTS
from publican.host.available import available
from publican.host.choose import Available, Chosen
from publican.host.choose_rope import RopeWish
from publican.host.fit import Decision, Fit, engine_of
from publican.host.fit_shape import ShapedModel, shape_model
from publican.host.options import LoadOptions, WorkerSpec
from publican.host.settle import settle
from publican.host.tokenizer import load_tokenizer
from publican.store.catalogue import StoredModel
from publican.store.checkpoint import open_checkpoint

_PADDING_SHARE = 0.01
"""Models of one family round the size of their vocabulary up, each to its own number."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft model, decided."""

    name: str
    checkpoint: Checkpoint
    chosen: Chosen
    fit: Fit

    @property
    def planned_bytes(self) -> tuple[int, int]:
        """Of main memory and of GPUs, when it is loaded into a process that has a model already."""
        plan = self.fit.plan
        shape = shape_model(self.checkpoint).spec
        return max(0, plan.host_loaded_bytes - shared_bytes(engine_of(self.chosen), shape)), plan.gpu_loaded_bytes

    @property
    def decision(self) -> Decision:
        needs = self.fit.plan.needs
        value = f"{self.name}, {shown(needs.weight_bytes)} and {shown(needs.kv_bytes)} of cache"
        where = "llama" if self.chosen.loader == "llama" else f"{self.chosen.loader} ({self.chosen.backend})"
        return Decision("draft", value, f"guesses for the model, on {where}, while that pays", "--draft-model")


def settle_with(
    stored: StoredModel, model: ShapedModel, here: Available, options: LoadOptions, machine: Machine
) -> tuple[Chosen, Fit, Draft]:
    """What `settle` says of `model` with the draft that lies at `stored` beside it, and how that is loaded.

    Raises:
        ModelFileError, UnsupportedModel, OutOfMemory, SettingsError.
    """
    refusal = ""
    for draft in _ways(stored, model, here, options, machine):
        try:
            chosen, fitted = settle(model, here, options, beside(machine, draft.fit.plan))
        except OutOfMemory as error:
            refusal = f"With {shown(draft.fit.plan.total_bytes)} for the draft model {stored.name} beside it: {error}"
            continue
        if fitted.num_tokens >= draft.fit.num_tokens:
            return chosen, replace(fitted, decisions=(*fitted.decisions, draft.decision)), draft
    raise OutOfMemory(refusal or f"There is no room for the draft model {stored.name} beside the model; take a smaller one.")


def _ways(stored: StoredModel, model: ShapedModel, here: Available, options: LoadOptions, machine: Machine) -> Iterator[Draft]:
    """How the draft could be loaded: with room for all that the model would have room for alone, then for less and less. It
    then guesses for shorter conversations only, and what it has not the model may have."""
    _, alone = settle(model, here, options, machine)
    checkpoint = open_checkpoint(stored.path)
    shape = shape_model(checkpoint)
    own, objection = available(checkpoint, machine), None
    most_len = min(alone.context_len, shape.spec.context_len)
    num_users = alone.plan.load.num_users
    for context_len, users in [(most_len, num_users), *((most_len >> times, 1) for times in range(8))]:
        if context_len < min(SHORTEST_CONTEXT, most_len):
            break
        try:
            chosen, fitted = settle(
                shape, own, _draft_options(replace(options, max_running=alone.num_slots), context_len, users), machine
            )
        except OutOfMemory as error:
            objection = error
        else:
            yield Draft(stored.name, checkpoint, chosen, fitted)
    if objection is not None:
        raise OutOfMemory(f"For the draft model {stored.name}: {objection}")


def _draft_options(options: LoadOptions, context_len: int, num_users: int) -> LoadOptions:
    """A draft keeps what it keeps in its own engine's way."""
    return replace(
        options,
        context_len=context_len,
        num_users=num_users,
        kv_type="auto",
        rope=RopeWish(),
        gpu_layers=0 if options.gpu_layers == 0 else None,
        gpu_split=(),
    )


def check_tokens(name: str, vocabulary: Vocabulary, stored: StoredModel) -> None:
    """Whether the tokens of the draft at `stored` are the model `name`'s, but for some that one of them has more at the end.

    Raises:
        UnsupportedModel: with the first token that is another.
    """
    theirs, ours = load_tokenizer(open_checkpoint(stored.path)).vocabulary.pieces, vocabulary.pieces
    text = f"The draft model {stored.name} does not have the tokens of {name}"
    advice = "take a smaller model of the same family"
    for token, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            raise UnsupportedModel(f"{text} (token {token:,} is {mine!r:.40} in one and {other!r:.40} in the other); {advice}.")
    if abs(len(ours) - len(theirs)) > _PADDING_SHARE * max(len(ours), len(theirs)):
        raise UnsupportedModel(f"{text} (there are {len(ours):,} in one and {len(theirs):,} in the other); {advice}.")


def draft_spec(spec: WorkerSpec, draft: Draft) -> WorkerSpec:
    """What the executor of `draft` is told, beside a model that is told `spec`."""
    fitted = draft.fit
    context_len = min(fitted.context_len, spec.context_len)
    return WorkerSpec(
        loader=draft.chosen.loader,
        backend=draft.chosen.backend,
        checkpoint=replace(draft.checkpoint, metadata={}),
        vocabulary=spec.vocabulary,
        context_len=context_len,
        num_tokens=max(context_len, min(fitted.num_tokens, spec.num_tokens)),
        num_slots=min(MOST_SLOTS, 2 * spec.max_running) if draft.chosen.loader == "llama" else spec.max_running,
        max_running=spec.max_running,
        max_batch_tokens=fitted.plan.load.chunk_len,
        threads=spec.threads,
        gpu_layers=fitted.gpu_layers,
        gpu_split=fitted.gpu_split,
        kv_type=fitted.kv_type,
        quality=spec.quality,
    )
