"""`CpuBackend`: runs a `Program` with the C++ operations. Called by the engine thread only; the GIL is free meanwhile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import EngineError
from publican.executors.native.batch import Batch
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.cpu.kv import KVCache
from publican.executors.native.cpu.library import Engine, load_library
from publican.executors.native.cpu.lowering import Lowering
from publican.executors.native.cpu.memory import allocate
from publican.executors.native.cpu.packing import Packer
from publican.executors.native.cpu.records import PcpuBatch
from publican.executors.native.cpu.threads import num_physical_cores
from publican.executors.native.program import Program

Floats = NDArray[np.float32]


class CpuBackend:
    """Follows `native.batch.Backend`.

    Packs the weights of `program` one after another and keeps nothing else of them, but an embedding table that is dense
    and not also the output matrix: of that one it reads rows where they lie.

    Args:
        num_pages: of the KV cache, and of the layers with a window apart, or 0 for none; `page_len` is a multiple of 16.
        max_tokens, max_logits: the most of a batch.

    Attributes:
        device: for people: ``cpu (avx512_bf16, 2 threads)``.
        weight_bytes: what the packed weights take.

    Raises:
        LibraryMissing: the operations were not compiled; `plain` can take over.
        UnsupportedModel: the model has something that the kernels do not know.
        EngineError: the CPU cannot run `config.variant`.
    """

    def __init__(
        self, program: Program, num_pages: tuple[int, int], page_len: int, max_tokens: int, max_logits: int, config: CpuConfig
    ) -> None:
        self._engine = Engine(load_library(), config.num_threads or num_physical_cores(), config.variant)
        self._cache = KVCache(program, num_pages, page_len, config.kv)
        int8 = config.activations == "int8"
        packer = Packer(self._engine, exact_scales=not int8)
        places = program.kv_places(num_pages[1] > 0)
        self._lowered: Lowering | None = Lowering(program, packer, (max_tokens, max_logits), int8, places)
        self._logits: Floats = allocate((max(max_logits, 1), program.vocab_size), np.float32)
        self._hidden_size = program.hidden_size
        self.weight_bytes = packer.num_bytes
        self.device = f"cpu ({self._engine.variant}, {self._engine.num_threads} threads)"

    def copy_page(self, source: int, target: int, is_windowed: bool = False) -> None:
        self._cache.copy_page(source, target, is_windowed)

    def run(self, batch: Batch) -> tuple[Floats, Floats | None]:
        """Logits [rows wanted, V] (valid until the next run) and hidden states [rows wanted, hidden_size] or None."""
        if self._lowered is None:
            raise EngineError("The backend is closed.")
        num_logits, num_hidden = len(batch.logit_rows), len(batch.hidden_rows)
        hidden = np.empty((num_hidden, self._lowered.hidden_stride), np.float32)
        record = _batch_record(batch)
        record.logits, record.logits_stride = self._logits.ctypes.data, self._logits.shape[1]
        record.hidden, record.hidden_stride = hidden.ctypes.data, hidden.shape[1]
        self._engine.run(self._lowered.record, self._cache.record, record)
        return self._logits[:num_logits], hidden[:, : self._hidden_size] if num_hidden else None

    def top(self, logits: Floats, count: int) -> tuple[NDArray[np.int32], Floats]:
        """The `count` best token ids of each row and their logits, best first, the lower id first among equals."""
        return self._engine.top(logits, count)

    def close(self) -> None:
        self._engine.close()
        self._lowered = None


def _batch_record(batch: Batch) -> PcpuBatch:
    record = PcpuBatch(
        num_tokens=len(batch.tokens),
        num_sequences=len(batch.starts),
        table_width=batch.pages.shape[1],
        num_logit_rows=len(batch.logit_rows),
        num_hidden_rows=len(batch.hidden_rows),
    )
    for name in ("tokens", "positions", "owners", "starts", "lengths", "past", "pages", "logit_rows", "hidden_rows"):
        setattr(record, name, getattr(batch, name).ctypes.data)
    if batch.adapters is not None:
        record.adapters = batch.adapters.ctypes.data
    if batch.windowed_pages is not None:
        record.windowed_pages = batch.windowed_pages.ctypes.data
    return record
