"""Settles everything about loading a model before a byte of it is loaded, and says why: context, cache, GPUs, positions.

Pure: shapes, wishes and a machine come in, a `Fit` goes out, or a refusal with the numbers. Called by `host.library`, and by
`publican fit` for machines that are not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName, KVType, check_kv_type
from publican.core.errors import OutOfMemory, SettingsError
from publican.core.model import Rope
from publican.hardware.engines import Load
from publican.hardware.machine import Machine
from publican.hardware.plan import Cut, Devices, Plan, Share
from publican.hardware.planner import SHORTEST_CONTEXT, Planner
from publican.hardware.sizes import shown
from publican.hardware.slots import MOST_SLOTS, USUAL_SLOTS, Slots, choose_slots
from publican.host.choose import Chosen
from publican.host.choose_rope import ChosenRope, RopeWish, choose_rope
from publican.host.fit_shape import ShapedModel
from publican.host.options import KVType as AskedKVType
from publican.host.options import LoadOptions

MAX_BATCH_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that was settled. `flag` is how a person settles it otherwise; empty where nothing can be changed."""

    name: str
    value: str
    why: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """Attributes:
    plan: where everything lies; its `load` has the context, the people and the cache's type.
    num_slots: answers computed together at most.
    kv_type: what the executor is told; ``auto`` where its own choice was planned with.
    gpu_layers, gpu_split: what libllama is told, or native in its own way.
    rope: None is the model's own.
    """

    plan: Plan
    num_slots: int
    kv_type: AskedKVType
    gpu_layers: int
    gpu_split: tuple[float, ...]
    rope: Rope | None
    decisions: tuple[Decision, ...]

    @property
    def context_len(self) -> int:
        return self.plan.load.context_len

    @property
    def num_tokens(self) -> int:
        return self.plan.load.num_tokens

    @property
    def why(self) -> str:
        """One line about the context."""
        return next(each.why for each in self.decisions if each.name == "context")


def engine_of(chosen: Chosen) -> EngineName:
    """What the planner calls the executor that was chosen."""
    if chosen.loader == "llama":
        return "llama"
    assert chosen.backend != "auto"
    return chosen.backend


def make_planner(model: ShapedModel, engine: EngineName, options: LoadOptions, devices: Devices) -> Planner:
    """The planner of `model`, with what `options` say about dividing.

    Raises:
        SettingsError: they leave no room on any GPU.
    """
    split = options.gpu_split[: len(devices.gpus)]
    if split and engine in ("cuda", "llama") and not any(split):
        raise SettingsError("--gpu-split gives nothing to the GPUs that are here; give one of them room, or leave it out.")
    return Planner(engine, model.spec, model.weights, devices, Cut(options.gpu_layers, options.gpu_split), model.is_encoder)


def fit(model: ShapedModel, chosen: Chosen, options: LoadOptions, machine: Machine) -> Fit:
    """Settle what `options` leave open.

    A context that was asked for is kept, if need be with keys and values in 8 bits; nobody's wish is lessened in silence. One
    that was not asked for is the model's own, for as many people as fit; then shorter.

    Args:
        machine: what can be used; no GPUs where the chosen executor has no use for them.

    Raises:
        OutOfMemory: with the numbers, and what would help.
        SettingsError: the options contradict one another, or ask for what the executor has not.
    """
    engine, asked_len = engine_of(chosen), options.context_len
    options = for_kind(model, options)
    planner = make_planner(model, engine, options, Devices.of(machine))
    rope = choose_rope(model.spec, options.context_len, options.rope)
    load, kv_why = _load(planner, rope.reach_len, options)
    plan, slots = _with_slots(planner, load, rope, options, machine)
    escalated = options.kv_type == "auto" and load.kv_type != planner.kv_types[0]
    return Fit(
        plan=plan,
        num_slots=slots.count,
        kv_type=load.kv_type if escalated else options.kv_type,
        gpu_layers=_gpu_layers(plan, options, machine),
        gpu_split=_gpu_split(plan, planner.devices, options),
        rope=rope.rope,
        decisions=(
            Decision("loader", _loader_text(chosen), chosen.why, "--loader, --backend"),
            *(
                _encoder_decisions(load, asked_len)
                if model.is_encoder
                else _context_decisions(planner, plan, rope, options, (slots, kv_why))
            ),
            *_gpu_decisions(plan, options, machine),
            *(() if model.is_encoder else _rope_decisions(rope)),
            *_thread_decisions(engine, options, machine),
        ),
    )


def for_kind(model: ShapedModel, options: LoadOptions) -> LoadOptions:
    """`options` without what means nothing to this kind of model: an encoder has the positions that it was made with, and no
    cache that could have a type or room for several people."""
    if not model.is_encoder:
        return options
    longest = None if options.context_len is None else min(options.context_len, model.spec.context_len)
    return replace(options, context_len=longest, num_users=1, kv_type="auto", rope=RopeWish())


def _context_decisions(
    planner: Planner, plan: Plan, rope: ChosenRope, options: LoadOptions, others: tuple[Slots, str]
) -> tuple[Decision, ...]:
    load, (slots, kv_why) = plan.load, others
    return (
        Decision("context", f"{load.context_len:,} tokens", _context_why(load, rope.reach_len, options, planner), "--ctx"),
        Decision("room", _room_text(load), _room_why(load, options, plan), "--users"),
        Decision("slots", f"{slots.count} answers at once", slots.why, "--max-running"),
        Decision("cache", f"{load.kv_type}, {shown(plan.needs.kv_bytes)}", kv_why, "--cache-type"),
    )


def _encoder_decisions(load: Load, asked_len: int | None) -> tuple[Decision, ...]:
    if asked_len is None:
        why = "as long as the model was made for"
    else:
        why = "asked for" if asked_len == load.context_len else f"not {asked_len:,}, for the model has no more positions"
    return (
        Decision("context", f"{load.context_len:,} tokens of a text", why, "--ctx"),
        Decision("cache", "none", "a text is read whole, and nothing is kept of it"),
    )


def most_slots(options: LoadOptions) -> int:
    """The slots that are planned with until it is known how many there will be: mostly that many or fewer."""
    return options.max_running or max(USUAL_SLOTS, min(options.num_users, MOST_SLOTS))


def first_load(planner: Planner, context_len: int, options: LoadOptions) -> Load:
    """What `options` ask for at that length, before anything was lessened."""
    check_kv_type(planner.engine, planner.spec.head_dim, options.kv_type)
    return Load(
        context_len=context_len,
        num_users=options.num_users,
        kv_type=planner.kv_types[0] if options.kv_type == "auto" else options.kv_type,
        chunk_len=max(MAX_BATCH_TOKENS, most_slots(options)),
        num_logits=2 * most_slots(options),
        is_exact=options.quality,
    )


def _load(planner: Planner, reach_len: int, options: LoadOptions) -> tuple[Load, str]:
    """The context, the people and the cache's type, and why that type."""
    wanted = first_load(planner, options.context_len or reach_len, options)
    why = "asked for" if options.kv_type != "auto" else "exact enough for everything"
    users = planner.most_users(wanted)
    if users:
        return replace(wanted, num_users=min(users, options.num_users)), why
    if options.context_len is None:
        shorter = planner.longest_context(replace(wanted, num_users=1), reach_len)
        if shorter >= min(SHORTEST_CONTEXT, reach_len):
            return replace(wanted, context_len=shorter, num_users=1), why
    elif options.kv_type == "auto" and "q8" in planner.kv_types:
        smaller = replace(wanted, kv_type="q8")
        users = planner.most_users(smaller)
        if users:
            why = f"{wanted.context_len:,} tokens do not fit in {wanted.kv_type}, and hardly lose anything in q8"
            return replace(smaller, num_users=min(users, options.num_users)), why
    raise OutOfMemory(refusal(planner, replace(wanted, num_users=1)))


def _with_slots(planner: Planner, load: Load, rope: ChosenRope, options: LoadOptions, machine: Machine) -> tuple[Plan, Slots]:
    """The plan with as many slots as were asked for, or as it and the machine carry."""
    plan = planner.plan(load)
    if options.max_running is not None:
        return plan, Slots(options.max_running, "asked for; the others wait")
    is_lessened = load != first_load(planner, options.context_len or rope.reach_len, options)
    slots = choose_slots(planner, plan, options.num_users, options.threads or machine.num_cores, is_lessened)
    if planner.engine == "llama" or planner.is_encoder:  # libllama has room for the logits of each that it remembers
        return plan, slots
    return planner.plan(replace(load, chunk_len=max(MAX_BATCH_TOKENS, slots.count), num_logits=2 * slots.count)), slots


def refusal(planner: Planner, load: Load) -> str:
    """Why `load` does not fit, with the numbers, and what would help."""
    plan = planner.plan(load)
    needs = plan.needs
    passing = sum(share.passing_bytes for share in plan.shares)
    rest = plan.total_bytes + passing - needs.weight_bytes - needs.kv_bytes
    short = ", ".join(_shortage(share) for share in plan.shares if share.room_bytes < 0)
    remedies = planner.remedies(load)
    advice = " or ".join(remedy.text for remedy in remedies) or "a smaller model"
    return (
        f"It does not fit: {shown(needs.weight_bytes)} of weights, {shown(needs.kv_bytes)} for {load.context_len:,} tokens in "
        f"{load.kv_type} and {shown(rest)} besides are {shown(plan.missing_bytes)} too much ({short}); take {advice}."
    )


def _shortage(share: Share) -> str:
    device = share.device
    usable = max(0, device.free_bytes - device.reserve_bytes)
    return f"{shown(share.total_bytes + share.passing_bytes)} where {shown(usable)} are free on {device.name}"


def _gpu_layers(plan: Plan, options: LoadOptions, machine: Machine) -> int:
    """libllama's number: -1 is all. Where no NVIDIA card is seen it may know others, and takes what it finds."""
    if plan.output_on_gpu or not machine.gpus:
        return -1 if options.gpu_layers is None else options.gpu_layers
    return plan.gpu_layers


def _gpu_split(plan: Plan, devices: Devices, options: LoadOptions) -> tuple[float, ...]:
    """A person's own numbers; else for libllama the layers that each GPU is to have, where there are several."""
    if options.gpu_split or plan.needs.engine != "llama" or len(devices.gpus) < 2 or not plan.gpu_layers:
        return options.gpu_split
    layers = {share.device.name: share.num_layers for share in plan.shares if share.device.is_gpu}
    return tuple(float(layers.get(gpu.name, 0)) for gpu in devices.gpus)


def _loader_text(chosen: Chosen) -> str:
    return chosen.loader if chosen.loader == "llama" else f"{chosen.loader} ({chosen.backend})"


def _context_why(load: Load, reach_len: int, options: LoadOptions, planner: Planner) -> str:
    if options.context_len is not None:
        return "asked for"
    if load.context_len == reach_len:
        return "as long as the model was made for" if options.rope.is_empty else "as far as the scaling reaches"
    free = shown(sum(device.free_bytes for device in (*planner.devices.gpus, planner.devices.ram) if device is not None))
    return f"of {reach_len:,}, for {free} are free"


def _room_text(load: Load) -> str:
    return f"{load.num_tokens:,} tokens, {load.num_users} at full length"


def _room_why(load: Load, options: LoadOptions, plan: Plan) -> str:
    if load.num_users == options.num_users:
        return "as asked; shorter conversations leave room for more people"
    tightest = min(plan.shares, key=lambda share: share.room_bytes)
    return f"not {options.num_users}, for {tightest.device.name} has {shown(tightest.device.free_bytes)} free"


def _gpu_decisions(plan: Plan, options: LoadOptions, machine: Machine) -> tuple[Decision, ...]:
    if plan.needs.engine not in ("cuda", "llama") or not machine.gpus:
        return ()
    total = len(plan.needs.layer_bytes)
    parts = [f"{share.num_layers} on {share.device.name}" for share in plan.shares if share.num_layers]
    if options.gpu_layers is not None or options.gpu_split:
        why = "asked for"
    elif plan.gpu_layers == total:
        why = "all of them fit"
    else:
        why = "as many as fit; the others are slower by far"
    flag = "--gpu-layers, --gpu-split" if plan.needs.engine == "llama" else "--gpu-split"
    return (Decision("layers", ", ".join(parts), why, flag),)


def _thread_decisions(engine: EngineName, options: LoadOptions, machine: Machine) -> tuple[Decision, ...]:
    if engine == "cuda":
        return ()
    why = "one for each physical core; more of them get in each other's way" if options.threads is None else "asked for"
    return (Decision("threads", str(options.threads or machine.num_cores), why, "--threads"),)


def _rope_decisions(rope: ChosenRope) -> tuple[Decision, ...]:
    if rope.rope is None:
        return (Decision("positions", "the model's own", rope.why, "--alpha, --rope-scaling, --rope-factor"),)
    kind = rope.rope.scaling.kind
    return (
        Decision("positions", "a larger theta" if kind == "none" else kind, rope.why, "--alpha, --rope-scaling, --rope-factor"),
    )


__all__ = ["Decision", "Fit", "KVType", "engine_of", "first_load", "fit", "for_kind", "make_planner", "most_slots", "refusal"]
