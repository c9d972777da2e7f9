"""SentencePiece's BPE: merge the neighbours whose union is the best-scored token, until no union is one.

Written out here because no library does it exactly: tokens may share a score, and then the leftmost goes first, which a list of
ranked merges cannot say. It is a merge per character in Python, so words are cached; text is cut into words only where no
token reaches across, which changes nothing. Any thread may call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

from publican.core.ids import TokenId

SPACE = "▁"
_MAX_CACHED_WORDS = 65_536
_MAX_CACHED_LEN = 64


class SentencePieceBPE:
    """Merges of one vocabulary.

    Args:
        ids: every token's id by its text.
        scores: by id; higher goes first.
        unknown: stands for a byte that has no token; None drops it.
    """

    def __init__(self, ids: Mapping[str, TokenId], scores: tuple[float, ...], unknown: TokenId | None) -> None:
        self._ids = ids
        self._priorities = {text: -scores[token] for text, token in ids.items()}
        byte_ids = [ids.get(f"<0x{byte:02X}>", ids.get(chr(byte), unknown)) for byte in range(256)]
        self._byte_ids = [[] if token is None else [token] for token in byte_ids]
        self._words = _word_pattern(ids)
        self._cache: dict[str, list[TokenId]] = {}

    def encode(self, text: str) -> list[TokenId]:
        """The tokens of `text`, in which spaces are written as ▁."""
        tokens: list[TokenId] = []
        cache = self._cache
        for word in self._words.findall(text):
            known = cache.get(word)
            if known is None:
                known = self._encode_word(word)
                if len(word) <= _MAX_CACHED_LEN:
                    if len(cache) >= _MAX_CACHED_WORDS:
                        cache.clear()
                    cache[word] = known
            tokens += known
        return tokens

    def _encode_word(self, word: str) -> list[TokenId]:
        ids = self._ids
        tokens: list[TokenId] = []
        start = 0
        for end in self._merge(word):
            token = ids.get(word[start:end])
            if token is not None:
                tokens.append(token)
            else:
                for byte in word[start:end].encode("utf-8", "replace"):
                    tokens += self._byte_ids[byte]
            start = end
        return tokens

    def _merge(self, word: str) -> list[int]:
        """Where the symbols end that are left when nothing can be merged any more.

        A symbol is word[start:ends[start]]; ends is 0 where no symbol starts. A candidate in the queue is stale unless the
        symbols that it would join still meet and end where they did.
        """
        num = len(word)
        priorities = self._priorities
        ends = list(range(1, num + 1))
        before = list(range(-1, num))
        queue = [
            (priority, start, start + 2)
            for start in range(num - 1)
            if (priority := priorities.get(word[start : start + 2])) is not None
        ]
        heapify(queue)
        while queue:
            _, start, stop = heappop(queue)
            middle = ends[start]
            if middle == 0 or middle >= stop or ends[middle] != stop:
                continue
            ends[start], ends[middle] = stop, 0
            previous = before[start]
            if previous >= 0 and (priority := priorities.get(word[previous:stop])) is not None:
                heappush(queue, (priority, previous, stop))
            if stop < num:
                before[stop] = start
                after = ends[stop]
                if (priority := priorities.get(word[start:after])) is not None:
                    heappush(queue, (priority, start, after))
        return [end for end in ends if end]


def _word_pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Cuts before a run of ▁, and around runs of line ends, unless some token reaches across such a place."""
    joiners: set[str] = set()
    lines_are_apart = True
    for text in texts:
        if SPACE in text[1:]:
            joiners |= {a for a, b in pairwise(text) if b == SPACE and a != SPACE}
        if "\n" in text and text.strip("\n"):
            lines_are_apart = False
    line_end = "\n" if lines_are_apart else ""
    inside = f"[^{SPACE}{line_end}]"
    if joiners:
        inside = f"(?:{inside}|(?<=[{re.escape(''.join(sorted(joiners)))}]){SPACE}+)"
    return re.compile(f"{SPACE}*{inside}+|{SPACE}+" + (r"|\n+" if lines_are_apart else ""), re.DOTALL)
