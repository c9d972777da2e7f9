"""`LlamaConfig`: what a host decides about libllama before loading a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from publican.core.errors import SettingsError
from publican.core.model import Rope

KVDtype = Literal["auto", "f32", "f16", "bf16", "q8", "q4"]
Split = Literal["none", "layer", "row"]

MAX_SEQUENCES = 256
"""What every libllama is compiled for (``LLAMA_MAX_SEQ``)."""


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The measures of one loaded model.

    Attributes:
        context_len: the most tokens that one slot can hold; 0 is what the model was trained for.
        num_cells: room for so many tokens in all slots together; 0 is one slot's context. libllama rounds it up to 256.
        num_slots: sequences at once, running and cached together. Costs nothing for plain attention; a recurrent model
            holds one state for each.
        max_batch_tokens: the most tokens in one plan.
        micro_batch_tokens: how many of them are computed together; a larger plan takes several rounds.
        max_logits: the most rows of logits in one plan; raised to `num_slots`, which libllama insists on.
        kv_dtype: how keys and values are kept; ``auto`` is f16.
        flash_attention: None leaves it to libllama, which needs it for q8 and q4.
        num_threads: libllama is fastest with one for each physical core, and slow with more; 0 is every processor.
        gpu_layers: how many layers go to the GPU; -1 is all. Without a GPU backend nothing does.
        split: how layers are divided among several GPUs; ``none`` uses only `main_gpu`.
        tensor_split: each GPU's share, in any unit; empty is by free memory.
        kv_on_gpu: whether keys and values lie beside the layers they belong to.
        rope: positions other than the file's own: another theta or scaling; None is the file's.
        mmap: map the file instead of reading it.
        mlock: keep the model from being swapped out.
    """

    context_len: int = 0
    num_cells: int = 0
    num_slots: int = 16
    max_batch_tokens: int = 512
    micro_batch_tokens: int = 512
    max_logits: int = 64
    kv_dtype: KVDtype = "auto"
    flash_attention: bool | None = None
    num_threads: int = 0
    gpu_layers: int = -1
    split: Split = "layer"
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    kv_on_gpu: bool = True
    rope: Rope | None = None
    mmap: bool = True
    mlock: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not least <= value < 2**31:
                raise SettingsError(f"{name} must be {least} or more, got {value}.")
        if self.num_slots > MAX_SEQUENCES:
            raise SettingsError(f"num_slots can be {MAX_SEQUENCES} at most with libllama, got {self.num_slots}.")
        if any(not share >= 0 for share in self.tensor_split):
            raise SettingsError(f"tensor_split must hold shares of 0 or more, got {self.tensor_split}.")


_LEAST = {
    "context_len": 0,
    "num_cells": 0,
    "num_slots": 1,
    "max_batch_tokens": 1,
    "micro_batch_tokens": 1,
    "max_logits": 1,
    "num_threads": 0,
    "gpu_layers": -1,
    "main_gpu": 0,
}
