"""How many answers to compute at once, where nobody said: as many as have room, and as the processor can carry.

Rows of a step share the reading of the weights and nothing else. A GPU has arithmetic to spare for them; cores have not, and
once they are busy each further row makes all answers slower, while the whole gets no faster: whoever would only slow the
others down waits better. Pure; called by `host.fit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName
from publican.core.model import ModelSpec
from publican.hardware.plan import Plan
from publican.hardware.planner import Planner
from publican.hardware.sizes import GIB, shown
from publican.hardware.weights import Weight

USUAL_SLOTS = 32
MOST_SLOTS = 256
FEWEST_SLOTS = 8
"""However slow: a search may follow so many answers, and short ones pass by long ones."""
_SLOTS_WITH_SPARE, _SPARE_BYTES = 64, 2 * GIB
"""Of a GPU, beside all that was asked for: samplers work on rows of logits, which are large."""
_ANSWER_LEN = 128
"""Tokens that an answer needs room for, or it is put back for another as soon as it began."""
_SLOWEST = 2.0
"""Tokens a second, of each answer."""
_RATES: dict[EngineName, float] = {"cpu": 40e9, "llama": 10e9, "plain": 8e9}
"""Weights that one core multiplies with in a second, in steps of many rows: about half of what was measured (AVX-512, 2 cores,
the default model: 76, 11 and 9 milliards; docs/log.md, 22 November 2026), for most machines have less."""


@dataclass(frozen=True, slots=True)
class Slots:
    """How many answers at once, and why not more."""

    count: int
    why: str


def choose_slots(planner: Planner, plan: Plan, num_users: int, num_cores: int, is_lessened: bool) -> Slots:
    """The slots of a model that is loaded by `plan`.

    Args:
        num_users: people who were asked for; at least they have slots, up to `MOST_SLOTS`.
        is_lessened: the plan has less than was asked for.
    """
    found = _by_processor(planner, plan, num_cores)
    if found is None and not is_lessened:
        found = _by_spare(planner, plan)
    found = found or Slots(USUAL_SLOTS, "more at once would answer no more in all; the others wait")
    num_rooms = plan.load.num_tokens // _ANSWER_LEN
    if num_rooms < found.count:
        found = Slots(max(FEWEST_SLOTS, num_rooms), f"there is room for {plan.load.num_tokens:,} tokens; the others wait")
    if found.count < num_users:
        why = "one for each user" if num_users <= MOST_SLOTS else "no more can be computed at once; the others wait"
        found = Slots(min(num_users, MOST_SLOTS), why)
    return found


def _by_processor(planner: Planner, plan: Plan, num_cores: int) -> Slots | None:
    """What the cores carry at a bearable speed; None where that is as many as are usual, or they compute nothing."""
    num_weights = computed_weights(planner.spec, planner.weights, plan)
    if not num_weights:
        return None
    per_second = num_cores * _RATES[planner.engine] / num_weights
    count = int(min(USUAL_SLOTS, max(FEWEST_SLOTS, per_second / _SLOWEST)))
    if count == USUAL_SLOTS:
        return None
    cores = "the core gives" if num_cores == 1 else f"{num_cores} cores give"
    each = per_second / count
    speed = f"{each:.0f} tokens" if each >= 2 else f"{each:.1f} tokens" if each >= 0.1 else "less than 0.1 tokens"
    return Slots(count, f"{cores} each of them about {speed} a second; the others wait")


def _by_spare(planner: Planner, plan: Plan) -> Slots | None:
    """More than usual, where all layers are on NVIDIA cards and these have memory left."""
    if planner.engine != "cuda" or not plan.output_on_gpu:
        return None
    roomier = planner.plan(replace(plan.load, num_logits=2 * _SLOTS_WITH_SPARE))
    usable = sum(gpu.free_bytes - gpu.reserve_bytes for gpu in planner.devices.gpus)
    spare = usable - sum(share.total_bytes for share in roomier.shares if share.device.is_gpu)
    if not roomier.fits or spare < _SPARE_BYTES:
        return None
    return Slots(_SLOTS_WITH_SPARE, f"{shown(spare)} of the GPUs are left; the others wait")


def computed_weights(spec: ModelSpec, weights: Iterable[Weight], plan: Plan) -> float:
    """How many weights cores multiply with for each token, when the last `plan.gpu_layers` layers are on GPUs."""
    if plan.needs.engine == "cuda":
        return 0
    num_left = len(plan.needs.layer_bytes) - plan.gpu_layers
    weights = tuple(weights)
    found = sum(_used(spec, weight) for weight in weights if weight.role == "layer" and weight.layer < num_left)
    if not plan.output_on_gpu:
        ends = {role: sum(w.num_numbers for w in weights if w.role == role) for role in ("embedding", "output")}
        found += ends["output"] or ends["embedding"]
    return found


def _used(spec: ModelSpec, weight: Weight) -> float:
    """Of a mixture's experts each token takes some."""
    if weight.is_vector:
        return 0
    share = spec.mixture.num_experts_per_token / weight.num_experts if spec.mixture and weight.num_experts > 1 else 1
    return weight.num_numbers * share
