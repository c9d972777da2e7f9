"""What kinds of model there are: one small declarative file each, and `build`, which makes programs of them.

`docs/add-a-model.md` describes adding one.
"""

from __future__ import annotations

from collections.abc import Mapping

from publican.executors.native.families.family import Family
from publican.executors.native.families.gemma import GEMMA, GEMMA2, GEMMA3
from publican.executors.native.families.llama import GRANITE, LLAMA, SMOLLM3
from publican.executors.native.families.mixture import MIXTRAL, QWEN2MOE, QWEN3MOE
from publican.executors.native.families.olmo2 import OLMO2
from publican.executors.native.families.phi3 import PHI3
from publican.executors.native.families.qwen import QWEN2, QWEN3

FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "granite": GRANITE,
    "smollm3": SMOLLM3,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "olmo2": OLMO2,
    "mixtral": MIXTRAL,
    "qwen2moe": QWEN2MOE,
    "qwen3moe": QWEN3MOE,
}
"""Every family by the name that `ModelSpec.architecture` has for it."""

__all__ = ["FAMILIES", "Family"]
