"""Loader and fit together: the fastest executor whose memory suffices. Pure; called by `host.library` and `publican fit`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from publican.core.errors import OutOfMemory
from publican.hardware.machine import Machine
from publican.host.choose import Available, Chosen, choose
from publican.host.fit import Fit, fit
from publican.host.fit_shape import ShapedModel
from publican.host.options import LoadOptions


def settle(model: ShapedModel, here: Available, options: LoadOptions, machine: Machine) -> tuple[Chosen, Fit]:
    """What runs `model`, and how. A model too large for the GPUs goes where there is room, unless somebody said where.

    Raises:
        UnsupportedModel: nothing here runs it.
        OutOfMemory: nothing that runs it has the memory; the text is about the first choice.
        SettingsError: the options contradict one another, or ask for what is not here.
    """
    chosen = choose(options.loader, options.backend, here)
    try:
        return chosen, fit(model, chosen, options, usable(machine, chosen, here))
    except OutOfMemory:
        for other in _roomier(chosen, here, options):
            try:
                return other, fit(model, other, options, usable(machine, other, here))
            except OutOfMemory:
                continue
        raise


def usable(machine: Machine, chosen: Chosen, here: Available) -> Machine:
    """`machine` without the cards that the chosen executor has no use for."""
    return replace(machine, gpus=()) if chosen.loader == "llama" and not here.llama_gpu else machine


def _roomier(chosen: Chosen, here: Available, options: LoadOptions) -> Iterator[Chosen]:
    if chosen.backend != "cuda" or options.loader != "auto" or options.backend != "auto":
        return
    if here.llama and here.llama_gpu and here.is_gguf:
        yield Chosen("llama", "auto", "too large for the GPUs; libllama leaves layers in main memory, native cannot")
    if here.cpu:
        yield Chosen("native", "cpu", "too large for the GPUs; main memory has the room")
