"""What the store is told about models before it fetches them: whether they run here, and how they would lie in memory.

The store knows neither executors nor memory, so both come to it as functions. Called on threads.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from publican.core.errors import ModelFileError, PublicanError
from publican.core.model import Checkpoint
from publican.executors.native.loading import objection
from publican.hardware.engines import KV_TYPES, EngineName, Load
from publican.hardware.machine import Machine
from publican.hardware.plan import Devices
from publican.hardware.planner import Planner
from publican.hardware.sizes import shown
from publican.hardware.weights import Weight, bits_per_weight, requantised, weights_of
from publican.store.pull.appraise import Judge
from publican.store.pull.choose import Fitting

_USUAL_CONTEXT = 8_192
"""Where nobody said: what most conversations need, and less than models of today were made for."""
_BATCH_TOKENS = 512
_SCALE_BITS = 0.3
"""Of what a quantised weight takes, that is not the weight itself."""


def make_judge(machine: Machine, context_len: int | None, num_users: int) -> Judge:
    """For `machine`, with a context (None is the model's own, up to 8,192) for so many people."""
    return Judge(objection_here, _fits(machine, context_len, num_users))


def objection_here(checkpoint: Checkpoint) -> str | None:
    """Why nothing here runs this model, from its headers alone; None if something does, or only its data could tell.

    Reads no weights: those of a remote checkpoint are not here.
    """
    if checkpoint.format == "gguf" and importlib.util.find_spec("llama_cpp") is not None:
        return None
    try:
        found = objection(checkpoint)
    except ModelFileError:  # the description is sound as far as it goes, and the rest is not here to be read
        return None
    if found and checkpoint.format == "gguf":
        return f"{found.rstrip('.')} (it is not installed: pip install 'publican[llama]')."
    return found


def _fits(machine: Machine, context_len: int | None, num_users: int) -> Callable[[Checkpoint, int], Fitting | None]:
    devices = Devices.of(machine)

    def fits(checkpoint: Checkpoint, num_bytes: int) -> Fitting | None:
        spec = checkpoint.spec
        if spec is None:
            return None
        try:
            weights = _of_size(weights_of(checkpoint), num_bytes)
            engine = _engine(machine)
            planner = Planner(engine, spec, weights, devices)
            wanted = context_len or min(spec.context_len, _USUAL_CONTEXT)
            load = Load(wanted, num_users, KV_TYPES[engine][0], chunk_len=_BATCH_TOKENS, num_logits=64)
            users = planner.most_users(load)
            longest = planner.longest_context(load, max(wanted, spec.context_len))
        except PublicanError:
            return None
        return Fitting(users >= num_users, longest, users, _where(devices))

    return fits


def _engine(machine: Machine) -> EngineName:
    return "cuda" if machine.gpus else "cpu"


def _of_size(weights: tuple[Weight, ...], num_bytes: int) -> tuple[Weight, ...]:
    """The weights of another quant of the same model."""
    own = sum(weight.num_bytes for weight in weights)
    if not own or abs(num_bytes - own) < 0.02 * own:
        return weights
    bits = bits_per_weight(weight for weight in weights if weight.role == "layer") * num_bytes / own
    return requantised(weights, max(1, round(bits - _SCALE_BITS)))


def _where(devices: Devices) -> str:
    if devices.gpus:
        total = shown(sum(gpu.free_bytes for gpu in devices.gpus))
        return f"{total} on {len(devices.gpus)} GPU{'s' if len(devices.gpus) > 1 else ''}"
    return f"{shown(devices.ram.free_bytes)} of memory" if devices.ram else ""
