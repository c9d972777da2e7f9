"""What the store is told of models before it fetches them: whether they run here, and how they would lie in memory.

The store knows neither executors nor memory, so both come to it as functions. What they say is what `host.library` would
decide if the model were here. Called on threads.
"""

from __future__ import annotations

from dataclasses import replace

from publican.core.errors import PublicanError, UnsupportedModel
from publican.core.model import Checkpoint
from publican.hardware.machine import Machine
from publican.hardware.plan import Devices
from publican.hardware.sizes import shown
from publican.hardware.weights import Weight, bits_per_weight, requantised
from publican.host.available import available_for_headers
from publican.host.choose import choose
from publican.host.fit import engine_of, first_load, make_planner
from publican.host.fit_shape import shape_model
from publican.host.options import LoadOptions
from publican.host.settle import usable
from publican.store.pull.appraise import Judge
from publican.store.pull.choose import Fitting

_USUAL_CONTEXT = 8_192
"""Where nobody said: what most conversations need, and less than models of today were made for."""
_SCALE_BITS = 0.3
"""Of what a quantised weight takes, that is not the weight itself."""


def make_judge(machine: Machine, context_len: int | None, num_users: int) -> Judge:
    """For `machine`, with a context (None is the model's own, up to 8,192) for so many people."""
    options = LoadOptions(context_len=context_len, num_users=num_users)

    def objection(checkpoint: Checkpoint) -> str | None:
        return _objection(checkpoint, machine)

    def fits(checkpoint: Checkpoint, num_bytes: int) -> Fitting | None:
        try:
            return _fitting(checkpoint, num_bytes, machine, options)
        except PublicanError:
            return None

    return Judge(objection, fits)


def _objection(checkpoint: Checkpoint, machine: Machine) -> str | None:
    """Why nothing here runs this model; None if something does, or only its data could tell. Reads no weights."""
    try:
        choose("auto", "auto", available_for_headers(checkpoint, machine))
    except UnsupportedModel as error:
        return str(error)
    return None


def _fitting(checkpoint: Checkpoint, num_bytes: int, machine: Machine, options: LoadOptions) -> Fitting:
    """Raises PublicanError if it could not be run, so that there is nothing to plan."""
    here = available_for_headers(checkpoint, machine)
    chosen = choose("auto", "auto", here)
    model, engine = shape_model(checkpoint), engine_of(chosen)
    model = replace(model, weights=_of_size(model.weights, num_bytes))
    devices = Devices.of(usable(machine, chosen, here))
    planner = make_planner(model, engine, options, devices)
    wanted = options.context_len or min(model.spec.context_len, _USUAL_CONTEXT)
    load = first_load(planner, wanted, options)
    users = planner.most_users(load)
    longest = planner.longest_context(load, max(wanted, model.spec.context_len))
    where = _where(devices, engine in ("cuda", "llama"))
    return Fitting(users >= options.num_users, longest, users, wanted, options.num_users, where)


def _of_size(weights: tuple[Weight, ...], num_bytes: int) -> tuple[Weight, ...]:
    """The weights of another quant of the same model."""
    own = sum(weight.num_bytes for weight in weights)
    if not own or abs(num_bytes - own) < 0.02 * own:
        return weights
    bits = bits_per_weight(weight for weight in weights if weight.role == "layer") * num_bytes / own
    return requantised(weights, max(1, round(bits - _SCALE_BITS)))


def _where(devices: Devices, on_gpus: bool) -> str:
    if devices.gpus and on_gpus:
        total = shown(sum(gpu.free_bytes for gpu in devices.gpus))
        return f"{total} on {len(devices.gpus)} GPU{'s' if len(devices.gpus) > 1 else ''}"
    return f"{shown(devices.ram.free_bytes)} of memory" if devices.ram else ""
