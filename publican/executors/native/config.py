"""`NativeConfig`: what a host decides about a native executor before loading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from publican.core.model import Rope

BackendName = Literal["plain", "cpu", "cuda"]
KVDtype = Literal["auto", "f32", "f16", "bf16", "q8", "q4"]


@dataclass(frozen=True, slots=True)
class NativeConfig:
    """The measures of one loaded model.

    Attributes:
        backend: who computes.
        context_len: the most tokens that one slot can hold; 0 is what the model was made for.
        num_slots: sequences that can be held at once.
        num_pages: pages of KV cache; 0 is as many as all slots can fill.
        num_windowed_pages: pages of the layers that have a sliding window, which give back what has passed; 0 is as many as
            the conversations need that `num_pages` has room for. Without such layers it means nothing.
        page_len: tokens per page.
        max_batch_tokens, max_logits: the most tokens, and rows of logits, in one plan.
        kv_dtype: how keys and values are kept; ``auto`` is the backend's own choice.
        rope: positions other than the file's own: another theta or scaling; None is the file's.
        quality: slower and more exact arithmetic where a backend has the choice.
        num_threads: for backends that have threads of their own; 0 is as many as there are processors.
        gpu_split: GB of each NVIDIA card for weights and cache, in their order; empty fills them by what is free.
    """

    backend: BackendName = "plain"
    context_len: int = 0
    num_slots: int = 8
    num_pages: int = 0
    num_windowed_pages: int = 0
    page_len: int = 16
    max_batch_tokens: int = 512
    max_logits: int = 64
    kv_dtype: KVDtype = "auto"
    rope: Rope | None = None
    quality: bool = False
    num_threads: int = 0
    gpu_split: tuple[float, ...] = ()
