"""`CudaBackend`: runs a `Program` with torch and Triton, on one device or several. Called by the engine thread only.

`run` returns as soon as the work is queued: the logits are a tensor on the last device, and whoever reads them waits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count

import numpy as np
import torch

from publican.core.errors import EngineError
from publican.executors.native.batch import Batch
from publican.executors.native.cuda.cache import KVCache, make_caches, page_bytes
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.cuda.devices import DTYPES, budgets, describe
from publican.executors.native.cuda.graphs import Graphs
from publican.executors.native.cuda.inputs import BlockSizes, Inputs, StepInputs
from publican.executors.native.cuda.lowering import Lowered, Stage, lower_program, rope_tensors
from publican.executors.native.cuda.operations import Heads, Operations, Pages
from publican.executors.native.cuda.packing import Packer
from publican.executors.native.cuda.placement import Placement
from publican.executors.native.cuda.steps import Context, MixExperts, Rope
from publican.executors.native.program import KVPlace, Program

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
        num_windowed_pages: of the layers with a window, which then have pages apart; 0 if they have not.

    Attributes:
        device: where it computes, for people.
        weight_bytes: what all weights take.
        caches, windowed_caches: keys and values, one for each stage; the latter of layers that have pages apart.

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
        num_windowed_pages: int = 0,
    ) -> None:
        self._devices = [torch.device(name) for name in config.devices]
        self._dtype = DTYPES[config.dtype]
        self._program = program
        self._limits, self._page_len = limits, cache[1]
        self._ops = operations(config)
        self._heads = Heads(program.num_heads, program.num_kv_heads, program.head_dim)
        try:
            self._load(program, (cache[0], num_windowed_pages), config, lower)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        self.device = describe(self._devices, config, ", without graphs" if self._without_graphs else "")

    def _load(self, program: Program, num_pages: tuple[int, int], config: CudaConfig, lower: Lower) -> None:
        limits, page_len = self._limits, self._page_len
        kv_dtype, shape = DTYPES[config.kv_dtype], (program.num_kv_heads, page_len, program.head_dim)
        places = program.kv_places(num_pages[1] > 0)
        layer_bytes = [page_bytes(1, shape, kv_dtype) * (num_pages[place.is_windowed] + 1) for place in places]
        reserve = 2 * program.vocab_size * program.hidden_size + 8 * limits[0] * sum(program.buffers.values())
        placement = Placement(budgets(self._devices, config, reserve), layer_bytes, bool(config.budgets_gb))
        packers = [Packer(device, self._dtype, config.exact_scales) for device in self._devices]
        lowered = lower(program, packers, placement, self._dtype)
        self.weight_bytes = sum(each.num_bytes for each in packers)
        self._stages = lowered.stages
        self._used = [self._devices[stage.device] for stage in lowered.stages]
        stage_places = [[places[layer] for layer in stage.layers] for stage in lowered.stages]
        pairs = [
            make_caches(of_stage, num_pages, shape, kv_dtype, device)
            for of_stage, device in zip(stage_places, self._used, strict=True)
        ]
        self.caches, self.windowed_caches = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self._spare_pages = self.caches[0].spare_page, self.windowed_caches[0].spare_page
        self._layers = [_layers(stage, places, pair) for stage, pair in zip(lowered.stages, pairs, strict=True)]
        self._ropes: list[list[Rope]] = [rope_tensors(program, device) for device in self._used]
        self._residuals = lowered.residuals
        self._buffers = [self._buffers_of(lowered, limits[0], device) for device in self._used]
        sizes = BlockSizes(*self._ops.block_sizes(self._heads))
        max_pages = -(-program.context_len // page_len)
        self._inputs = Inputs(self._used, (*limits, max_pages), sizes, num_pages[1] > 0)
        self._graphs: Graphs | None = None
        # The twins go through experts one by one, and ask the device which.
        mixes = any(isinstance(each, MixExperts) for stage in lowered.stages for each in stage.instructions)
        self._without_graphs = config.graphs and (lowered.waits or (mixes and config.kernels == "torch"))
        if config.graphs and not self._without_graphs and len(self._used) == 1 and self._used[0].type == "cuda":
            self._graphs = Graphs(self._used[0], (min(limits), max_pages), self._spare_pages, self._inputs, self._forward)

    def _buffers_of(self, lowered: Lowered, max_tokens: int, device: torch.device) -> dict[str, torch.Tensor]:
        return {
            name: torch.empty(
                (max_tokens, width), dtype=torch.float32 if name in lowered.residuals else self._dtype, device=device
            )
            for name, width in lowered.buffers.items()
        }

    def warm_up(self) -> None:
        """Run steps of several sizes on the spare pages, so that nobody waits for compilers when the first request comes."""
        for length in _WARM_UP:
            if length <= self._limits[0]:
                self.run(_spare_batch(length, self._page_len, self._spare_pages))

    def copy_page(self, source: int, target: int, is_windowed: bool = False) -> None:
        for cache in self.windowed_caches if is_windowed else self.caches:
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
        self._buffers, self._layers, self._ropes = [], [], []
        self.caches, self.windowed_caches = [], []
        if any(device.type == "cuda" for device in self._devices):
            torch.cuda.empty_cache()


def operations(config: CudaConfig) -> Operations:
    """The kernels, or their twins. Triton is imported only for the former."""
    if config.kernels == "torch":
        from publican.executors.native.cuda.twins import TorchOperations

        return TorchOperations()
    from publican.executors.native.cuda.kernels import TritonOperations

    return TritonOperations()


def _spare_batch(length: int, page_len: int, spare_pages: tuple[int, int]) -> Batch:
    """One sequence of `length` tokens, all of whose pages are the spare one of their kind."""
    rows, zero = np.arange(length, dtype=np.int32), np.zeros(1, np.int32)
    pages, windowed = (np.full((1, -(-length // page_len)), page, np.int32) for page in spare_pages)
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
        windowed_pages=windowed if spare_pages[1] else None,
    )


def _layers(stage: Stage, places: tuple[KVPlace, ...], caches: tuple[KVCache, KVCache]) -> dict[int, Pages]:
    """What each layer of a stage holds; `caches` are as `make_caches` made them."""
    numbers = count(), count()
    kinds = {layer: places[layer].is_windowed for layer in stage.layers}
    return {layer: caches[kind].layer(next(numbers[kind])) for layer, kind in kinds.items()}


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Kernels go to the current device, whatever device their tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
