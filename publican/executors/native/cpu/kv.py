"""The KV cache's memory. What lies in a block is drawn in `src/kv.h`."""

from __future__ import annotations

from publican.core.errors import UnsupportedModel
from publican.executors.native.cpu import records
from publican.executors.native.cpu.config import KVStorage
from publican.executors.native.cpu.memory import allocate_bytes
from publican.executors.native.program import Program

_BLOCK_LEN = 16


def page_bytes(program: Program, page_len: int, kv: KVStorage) -> int:
    """What a page of `page_len` tokens, all layers and heads of it, takes."""
    pad = 32 if kv == "int4" else 16
    numbers = 2 * _BLOCK_LEN * -(-program.head_dim // pad) * pad
    block = {"bf16": 2 * numbers, "int8": numbers + 2 * _BLOCK_LEN * 4, "int4": numbers // 2 + numbers // 32 * 2}[kv]
    return block * program.num_layers * program.num_kv_heads * (page_len // _BLOCK_LEN)


class KVCache:
    """Pages numbered from 0, each all layers of `page_len` tokens side by side.

    Memory that was never written reads as zeros and is not resident: a cache as large as a context costs what is used of it.

    Raises:
        UnsupportedModel: the page length or the heads are not such as the kernels know.
        MemoryError
    """

    def __init__(self, program: Program, num_pages: int, page_len: int, kv: KVStorage) -> None:
        if page_len < 1 or page_len % _BLOCK_LEN:
            raise UnsupportedModel(
                f"Pages of {page_len} tokens are not for the C++ operations; use a multiple of {_BLOCK_LEN}."
            )
        if program.head_dim > records.MAX_HEAD_DIM:
            raise UnsupportedModel(
                f"Heads of {program.head_dim} numbers are more than the C++ operations know ({records.MAX_HEAD_DIM}); "
                "run this model with the llama loader."
            )
        self.page_bytes = page_bytes(program, page_len, kv)
        memory = allocate_bytes(self.page_bytes * num_pages)
        self._pages = memory.reshape(num_pages, self.page_bytes)
        self.record = records.PcpuCache(
            data=memory.ctypes.data,
            page_bytes=self.page_bytes,
            num_pages=num_pages,
            page_len=page_len,
            num_layers=program.num_layers,
            num_kv_heads=program.num_kv_heads,
            head_dim=program.head_dim,
            storage=records.KV_STORAGES[kv],
        )

    def copy_page(self, source: int, target: int) -> None:
        self._pages[target] = self._pages[source]
