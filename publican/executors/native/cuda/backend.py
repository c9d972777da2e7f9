"""`CudaBackend`: runs a `Program` with torch and Triton, on one device or several. Called by the engine thread only.

`run` returns as soon as the work is queued: the logits are a tensor on the last device, and whoever reads them waits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from publican.core.errors import EngineError
from publican.executors.native.batch import Batch
from publican.executors.native.cuda.cache import KVCache, page_bytes
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.cuda.devices import DTYPES, budgets, describe
from publican.executors.native.cuda.graphs import Graphs
from publican.executors.native.cuda.inputs import BlockSizes, Inputs, StepInputs
from publican.executors.native.cuda.lowering import Lowered, Stage, lower_program, rope_tensors
from publican.executors.native.cuda.operations import Heads, Operations, Pages
from publican.executors.native.cuda.packing import Packer
from publican.executors.native.cuda.placement import Placement
from publican.executors.native.cuda.steps import Context, MixExperts, Rope
from publican.executors.native.program import Program

_WARM_UP = (1, 2, 16, 32, 64, 65)
"""Rows for which other kernels are chosen, or are compiled otherwise."""

Result = tuple[torch.Tensor, torch.Tensor | None]
Lower = Callable[[Program, list[Packer], Placement, torch.dtype], Lowered]


class CudaBackend:
    """Follows `native.batch.Backend`.

    Args:
        limits: the most tokens and the most sequences of a batch.
        cache: pages of the KV cache, and tokens per page.
        lower: makes the instructions; a benchmark has its own way.

    Attributes:
        device: where it computes, for people.
        weight_bytes: what all weights take.
        caches: keys and values, one for each stage.

    Raises:
        MemoryError: a device is too small. OutOfMemory: the budgets are.
        UnsupportedModel: a bit width that is not known.
    """

    top = None

    def __init__(
        self,
        program: Program,
        cache: tuple[int, int],
        limits: tuple[int, int],
        config: CudaConfig,
        lower: Lower = lower_program,
    ) -> None:
        self._devices = [torch.device(name) for name in config.devices]
        self._dtype = DTYPES[config.dtype]
        self._program = program
        self._limits, self._page_len = limits, cache[1]
        self._ops = operations(config)
        self._heads = Heads(program.num_heads, program.num_kv_heads, program.head_dim)
        try:
            self._load(program, cache, limits, config, lower)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        self.device = describe(self._devices, config, ", without graphs" if self._without_graphs else "")

    def _load(
        self, program: Program, cache: tuple[int, int], limits: tuple[int, int], config: CudaConfig, lower: Lower
    ) -> None:
        num_pages, page_len = cache
        kv_dtype, shape = DTYPES[config.kv_dtype], (program.num_kv_heads, page_len, program.head_dim)
        layer_bytes = page_bytes(1, shape, kv_dtype) * (num_pages + 1)
        reserve = 2 * program.vocab_size * program.hidden_size + 8 * limits[0] * sum(program.buffers.values())
        placement = Placement(budgets(self._devices, config, reserve), layer_bytes, bool(config.budgets_gb))
        packers = [Packer(device, self._dtype, config.exact_scales) for device in self._devices]
        lowered = lower(program, packers, placement, self._dtype)
        self.weight_bytes = sum(each.num_bytes for each in packers)
        self._stages = lowered.stages
        self._used = [self._devices[stage.device] for stage in lowered.stages]
        self.caches = [
            KVCache(len(stage.layers), num_pages, shape, kv_dtype, device)
            for stage, device in zip(lowered.stages, self._used, strict=True)
        ]
        self._layers = [_layers(stage, each) for stage, each in zip(lowered.stages, self.caches, strict=True)]
        self._ropes: list[list[Rope]] = [rope_tensors(program, device) for device in self._used]
        self._residuals = lowered.residuals
        self._buffers = [self._buffers_of(lowered, limits[0], device) for device in self._used]
        sizes = BlockSizes(*self._ops.block_sizes(self._heads))
        max_pages = -(-program.context_len // page_len)
        self._inputs = Inputs(self._used, (*limits, max_pages), sizes)
        self._graphs: Graphs | None = None
        # The twins go through experts one by one, and ask the device which.
        mixes = any(isinstance(each, MixExperts) for stage in lowered.stages for each in stage.instructions)
        self._without_graphs = config.graphs and (lowered.waits or (mixes and config.kernels == "torch"))
        if config.graphs and not self._without_graphs and len(self._used) == 1 and self._used[0].type == "cuda":
            spare = self.caches[0].spare_page
            self._graphs = Graphs(self._used[0], (min(limits), max_pages, spare), self._inputs, self._forward)

    def _buffers_of(self, lowered: Lowered, max_tokens: int, device: torch.device) -> dict[str, torch.Tensor]:
        return {
            name: torch.empty(
                (max_tokens, width), dtype=torch.float32 if name in lowered.residuals else self._dtype, device=device
            )
            for name, width in lowered.buffers.items()
        }

    def warm_up(self) -> None:
        """Run steps of several sizes on the spare page, so that nobody waits for compilers when the first request comes."""
        for length in _WARM_UP:
            if length <= self._limits[0]:
                self.run(_spare_batch(length, self._page_len, self.caches[0].spare_page))

    def copy_page(self, source: int, target: int, is_windowed: bool = False) -> None:
        assert not is_windowed  # the loader gives this backend no pages apart
        for cache in self.caches:
            cache.copy_page(source, target)

    def run(self, batch: Batch) -> Result:
        """Logits [rows wanted, V] and hidden states or None; tensors on the last device, valid until the next run."""
        if not self._stages:
            raise EngineError("The backend is closed.")
        try:
            with torch.no_grad():  # inference tensors could not be written to by those who sample
                if self._graphs is not None and self._graphs.fits(batch):
                    return self._graphs.run(batch), None
                return self._forward(self._inputs.send(batch))
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:  # what torch and the driver raise
            text = str(error).strip().partition("\n")[0][:200]
            raise EngineError(f"The NVIDIA card failed in a step ({text}); load the model again.") from error

    def _forward(self, inputs: list[StepInputs]) -> Result:
        before: Context | None = None
        for i, stage in enumerate(self._stages):
            num_rows = len(inputs[i].tokens)
            buffers = {name: buffer[:num_rows] for name, buffer in self._buffers[i].items()}
            context = Context(self._ops, buffers, inputs[i], self._heads, self._layers[i], self._ropes[i])
            with _on(self._used[i]):
                if before is not None:
                    for name in self._residuals:
                        buffers[name].copy_(before.buffers[name], non_blocking=True)
                for instruction in stage.instructions:
                    instruction.run(context)
            before = context
        assert before is not None
        assert before.logits is not None
        return before.logits, before.hidden

    def close(self) -> None:
        self._stages, self._graphs = (), None
        self._buffers, self._layers, self._ropes, self.caches = [], [], [], []
        if any(device.type == "cuda" for device in self._devices):
            torch.cuda.empty_cache()


def operations(config: CudaConfig) -> Operations:
    """The kernels, or their twins. Triton is imported only for the former."""
    if config.kernels == "torch":
        from publican.executors.native.cuda.twins import TorchOperations

        return TorchOperations()
    from publican.executors.native.cuda.kernels import TritonOperations

    return TritonOperations()


def _spare_batch(length: int, page_len: int, spare_page: int) -> Batch:
    """One sequence of `length` tokens, all of whose pages are the spare one."""
    rows, zero = np.arange(length, dtype=np.int32), np.zeros(1, np.int32)
    pages = np.full((1, -(-length // page_len)), spare_page, np.int32)
    return Batch(
        tokens=np.zeros(length, np.int32),
        positions=rows,
        owners=np.zeros(length, np.int32),
        starts=zero,
        lengths=np.array([length], np.int32),
        past=zero,
        pages=pages,
        logit_rows=rows[-1:],
        hidden_rows=rows[:0],
    )


def _layers(stage: Stage, cache: KVCache) -> dict[int, Pages]:
    return {layer: cache.layer(index) for index, layer in enumerate(stage.layers)}


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Kernels go to the current device, whatever device their tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
