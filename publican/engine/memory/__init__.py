"""Who holds which part of the KV cache, and what may be reused: policy apart from the storage it manages.

`pages` and `cells` follow one protocol, `PrefixCache`; neither touches memory. They say what to do as operations that
travel in the next plan.
"""

from publican.core.executor import ExecutorInfo, Pages
from publican.engine.memory.cells import CellCache
from publican.engine.memory.pages import PageCache
from publican.engine.memory.protocol import Lease, PrefixCache
from publican.engine.memory.windows import Windows

__all__ = ["CellCache", "Lease", "PageCache", "PrefixCache", "cache_for"]


def cache_for(info: ExecutorInfo) -> PrefixCache:
    """The policy that fits an executor's kind of memory."""
    if isinstance(info.memory, Pages):
        pages = info.memory
        windows = Windows(pages.num_windowed_pages, pages.window, info.max_batch_tokens) if pages.window else None
        return PageCache(pages.page_len, pages.num_pages, info.num_slots, windows)
    return CellCache(info.memory.num_tokens, info.num_slots, info.memory.can_rewind)
