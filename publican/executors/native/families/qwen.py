"""Qwen 2 and 2.5: Llama with biases on q, k and v, which are added wherever a file has them. Qwen 3: norms on q and k."""

from __future__ import annotations

from publican.executors.native.families.family import Family

QWEN2 = Family()
QWEN3 = Family(qk_norm="head")
