"""Looks at candidates by their headers, asks what runs and what fits, and chooses. On the event loop.

The quants of a GGUF repository are one model, so one header says its shape and the sizes of the files the rest; the header
of the one that was chosen is read too, before it is fetched, for its types may be ones that do not run here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import Checkpoint
from publican.store.http.network import Network
from publican.store.http.session import Session
from publican.store.hub.client import Hub
from publican.store.hub.reference import HubReference
from publican.store.inspect.inspection import Inspection
from publican.store.inspect.remote import inspect_candidate
from publican.store.pull.candidates import Candidate
from publican.store.pull.choose import Choice, Fits, Row, choose, choose_pickle
from publican.store.pull.find import find
from publican.store.recognise.instead import instead, instead_of_pickle
from publican.store.recognise.kind import RUNNABLE


@dataclass(frozen=True, slots=True)
class Judge:
    """What other rooms know of models.

    Attributes:
        objection: why a model cannot be run here, from its headers; None if nothing speaks against it.
        fits: see `choose`.
    """

    objection: Callable[[Checkpoint], str | None] = lambda checkpoint: None
    fits: Fits = lambda checkpoint, num_bytes: None


async def appraise(
    hub: Hub, found: Sequence[Candidate], judge: Judge, allow_pickle: bool = False, anyway: bool = False
) -> Choice:
    """The one to take of `found`, which are not none.

    Raises:
        ModelFileError, UnsupportedModel, OutOfMemory
    """
    sound = [one for one in found if one.container != "pickle"]
    if not sound:
        return choose_pickle(found[0], allow_pickle)
    if len(sound) == 1 and not sound[0].is_model:
        return Choice(row := Row(sound[0]), "asked for by name", (row,))
    rows, looked_at = await _rows(hub, sound, judge)
    while True:
        choice = choose(rows, anyway)
        chosen = choice.row.candidate
        if chosen in looked_at:
            return choice
        inspection = await inspect_candidate(hub, chosen)
        looked_at.append(chosen)
        objection = await asyncio.to_thread(_objection, inspection, judge)
        rows = [row.because(objection) if row.candidate is chosen else row for row in rows]


@dataclass(frozen=True, slots=True)
class Survey:
    """A repository looked at and nothing chosen: one of its models, by its header, and a row for each."""

    seen: Inspection
    rows: tuple[Row, ...]


async def survey(
    reference: HubReference, network: Network, judge: Judge, quant: str | None = None, file: str | None = None
) -> Survey:
    """What a reference of the hub means, whether it runs here or not.

    Raises:
        InvalidParameter, ModelFileError: there is none, or it cannot be looked into.
    """
    async with Session(network) as session:
        hub = Hub(session)
        found = await find(hub, reference, quant, file)
        sound = [one for one in found if one.container != "pickle"]
        if not sound:
            raise UnsupportedModel(instead_of_pickle(found[0].snapshot.repo, found[0].snapshot.base_models))
        first = min((one for one in sound if not one.missing), key=lambda one: one.num_bytes, default=sound[0])
        seen = await inspect_candidate(hub, first)
        group = [one for one in sound if one.container == first.container]
        rows = await asyncio.to_thread(_judged, group, first, seen, judge)
    return Survey(seen, tuple(rows))


async def _rows(hub: Hub, found: Sequence[Candidate], judge: Judge) -> tuple[list[Row], list[Candidate]]:
    """A row for each, and which of them were looked into: the smallest of each container."""
    rows: list[Row] = []
    looked_at = []
    for container in ("safetensors", "gguf"):
        group = [one for one in found if one.container == container]
        whole = [one for one in group if not one.missing] or group
        if not whole:
            continue
        smallest = min(whole, key=lambda one: one.num_bytes)
        try:
            seen = await inspect_candidate(hub, smallest)
        except ModelFileError as error:
            if len(found) == 1:
                raise
            rows += [Row(one, objection=str(error)) for one in group]
            continue
        looked_at.append(smallest)
        rows += await asyncio.to_thread(_judged, group, smallest, seen, judge)
    return rows, looked_at


def _judged(group: Sequence[Candidate], smallest: Candidate, seen: Inspection, judge: Judge) -> list[Row]:
    objection = _objection(seen, judge)
    shape_runs = not objection or (seen.checkpoint.spec is not None and seen.kind in RUNNABLE)
    num_params = seen.form.num_params
    rows = []
    for one in group:
        bits = 8 * one.num_bytes / num_params if num_params else 0.0
        fitting = judge.fits(seen.checkpoint, one.num_bytes)
        own = objection if one is smallest or not shape_runs else ""
        lost = f"{len(one.missing)} of its parts are not there" if one.missing else ""
        rows.append(Row(one, bits, fitting, own or lost))
    return rows


def _objection(seen: Inspection, judge: Judge) -> str:
    objection = judge.objection(seen.checkpoint) if seen.kind in RUNNABLE else None
    return instead(seen.kind, objection, seen.base_models)
