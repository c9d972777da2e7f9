"""Names for the integers and strings that must not be mixed up."""

from typing import NewType

TokenId = NewType("TokenId", int)
"""An index into a model's vocabulary."""

SlotId = NewType("SlotId", int)
"""A sequence as the executor knows it: a row of its page table, or a libllama sequence id."""

PageId = NewType("PageId", int)
"""A page of the KV cache; a page holds `page_len` tokens of one sequence (or of several that share a prefix)."""

RequestId = NewType("RequestId", str)
"""A request, unique for as long as the server runs."""
