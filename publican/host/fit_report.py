"""What `publican fit` answers: the plan, whether it fits, how far one can go otherwise, and what would help. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName, KVType
from publican.core.errors import OutOfMemory
from publican.hardware.machine import Machine
from publican.hardware.plan import Devices, Plan
from publican.hardware.planner import Planner, Remedy, disk_bytes
from publican.hardware.weights import bits_per_weight
from publican.host.choose import Chosen
from publican.host.choose_rope import choose_rope
from publican.host.fit import Decision, Fit, engine_of, first_load, fit, for_kind, make_planner
from publican.host.fit_shape import ShapedModel
from publican.host.options import LoadOptions


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one can go with keys and values of one type: the longest context for all who were asked for, for one alone,
    and how many people have room at the length of the plan. 0 is none."""

    kv_type: KVType
    longest_for_all: int
    longest_for_one: int
    most_users: int


@dataclass(frozen=True, slots=True)
class FitReport:
    """Attributes:
    fits: whether everything that was asked for has room, all people at full length.
    plan: of what was asked for if it fits or nothing would; else of what would be loaded instead.
    wanted: the plan of what was asked for.
    refusal: why nothing would be loaded by this engine; empty if something would.
    limits: none of an encoder, which has no cache and the positions that it was made with.
    instead: what another engine would do then, in words; empty for nothing.
    disk_bytes: what downloading takes.
    """

    model: ShapedModel
    engine: EngineName
    machine: Machine
    wanted: Plan
    plan: Plan
    refusal: str
    decisions: tuple[Decision, ...]
    limits: tuple[Limits, ...]
    remedies: tuple[Remedy, ...]
    bits_per_weight: float
    disk_bytes: int
    instead: str = ""

    @property
    def fits(self) -> bool:
        return self.wanted.fits


def make_report(model: ShapedModel, chosen: Chosen, options: LoadOptions, machine: Machine) -> FitReport:
    """How `model` lies in `machine`.

    Raises:
        SettingsError: the options contradict one another, or ask for what the engine has not.
    """
    engine, asked = engine_of(chosen), options
    options = for_kind(model, options)
    planner = make_planner(model, engine, options, Devices.of(machine))
    reach_len = choose_rope(model.spec, options.context_len, options.rope).reach_len
    load = first_load(planner, options.context_len or reach_len, options)
    wanted = planner.plan(load)
    settled: Fit | None
    refusal = ""
    try:
        settled = fit(model, chosen, asked, machine)
    except OutOfMemory as error:
        settled, refusal = None, str(error)
    types = planner.kv_types if options.kv_type == "auto" else (load.kv_type,)
    shown = [kv_type for kv_type in types if kv_type == load.kv_type or kv_type in ("q8", "q4")]
    return FitReport(
        model=model,
        engine=engine,
        machine=machine,
        wanted=wanted,
        plan=settled.plan if settled else wanted,
        refusal=refusal,
        decisions=settled.decisions if settled else (),
        limits=() if model.is_encoder else tuple(_limits(planner, wanted, kv_type) for kv_type in shown),
        remedies=planner.remedies(load),
        bits_per_weight=bits_per_weight(model.weights),
        disk_bytes=disk_bytes(model.weights),
    )


def _limits(planner: Planner, wanted: Plan, kv_type: KVType) -> Limits:
    load = replace(wanted.load, kv_type=kv_type)
    return Limits(
        kv_type=kv_type,
        longest_for_all=planner.longest_context(load),
        longest_for_one=planner.longest_context(replace(load, num_users=1)),
        most_users=planner.most_users(load),
    )
