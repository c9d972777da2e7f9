"""The KV cache's memory. What lies in a block is drawn in `src/kv.h`."""

from __future__ import annotations

from publican.core.errors import UnsupportedModel
from publican.executors.native.cpu import records
from publican.executors.native.cpu.config import KVStorage
from publican.executors.native.cpu.memory import allocate_bytes
from publican.executors.native.program import Program

_BLOCK_LEN = 16


def page_bytes(program: Program, page_len: int, kv: KVStorage, num_layers: int) -> int:
    """What a page of `page_len` tokens, so many layers and all heads of it, takes."""
    pad = 32 if kv == "int4" else 16
    numbers = 2 * _BLOCK_LEN * -(-program.head_dim // pad) * pad
    block = {"bf16": 2 * numbers, "int8": numbers + 2 * _BLOCK_LEN * 4, "int4": numbers // 2 + numbers // 32 * 2}[kv]
    return block * num_layers * program.num_kv_heads * (page_len // _BLOCK_LEN)


class KVCache:
    """Pages numbered from 0, each all layers of `page_len` tokens side by side; and apart from them, where `num_pages` names a
    second count, those of the layers with a window.

    Memory that was never written reads as zeros and is not resident: a cache as large as a context costs what is used of it.

    Attributes:
        page_bytes: what a page of either kind takes.

    Raises:
        UnsupportedModel: the page length or the heads are not such as the kernels know.
        MemoryError
    """

    def __init__(self, program: Program, num_pages: tuple[int, int], page_len: int, kv: KVStorage) -> None:
        if page_len < 1 or page_len % _BLOCK_LEN:
            raise UnsupportedModel(
                f"Pages of {page_len} tokens are not for the C++ operations; use a multiple of {_BLOCK_LEN}."
            )
        if program.head_dim > records.MAX_HEAD_DIM:
            raise UnsupportedModel(
                f"Heads of {program.head_dim} numbers are more than the C++ operations know ({records.MAX_HEAD_DIM}); "
                "run this model with the llama loader."
            )
        num_layers = program.num_kv_layers(num_pages[1] > 0)
        self.page_bytes = tuple(page_bytes(program, page_len, kv, count) for count in num_layers)
        self._pages = [
            allocate_bytes(max(size * count, 1))[: size * count].reshape(count, size)
            for size, count in zip(self.page_bytes, num_pages, strict=True)
        ]
        pools = [
            records.PcpuPool(memory.ctypes.data, size, count, layers)
            for memory, size, count, layers in zip(self._pages, self.page_bytes, num_pages, num_layers, strict=True)
        ]
        self.record = records.PcpuCache(
            pools=(records.PcpuPool * 2)(*pools),
            page_len=page_len,
            num_kv_heads=program.num_kv_heads,
            head_dim=program.head_dim,
            storage=records.KV_STORAGES[kv],
        )

    def copy_page(self, source: int, target: int, is_windowed: bool) -> None:
        self._pages[is_windowed][target] = self._pages[is_windowed][source]
