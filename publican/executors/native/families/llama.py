"""Llama and whatever is built like it: Llama 1 to 3, CodeLlama, Mistral, Yi, SmolLM2, Granite, SmolLM3.

What sets the last two apart are numbers (multipliers, layers without rotary positions), which the spec has.
"""

from __future__ import annotations

from publican.executors.native.families.family import Family

LLAMA = Family(gguf_interleaved=True)
GRANITE = LLAMA
SMOLLM3 = LLAMA
