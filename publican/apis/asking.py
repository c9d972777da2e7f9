"""`Asking`: what a translation may know beside the body. A value; translations stay pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from publican.core.presets import Presets
from publican.core.request import Caller


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, which presets and which of the loaded model's adapters a request may name, and how many prompts it may hold."""

    caller: Caller
    presets: Presets = field(default_factory=Presets)
    max_prompts: int = 128
    adapters: tuple[str, ...] = ()
