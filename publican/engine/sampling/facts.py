"""What samplers must know of a vocabulary: ends, protected tokens, and the tokens of DRY's breakers. Engine thread only.

Worked out when first asked for, since going through a vocabulary takes milliseconds, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary

MAX_BREAKER_LEN = 40
MAX_TAIL_LEN = 20


@dataclass(frozen=True)
class Breakers:
    """Token ids across which DRY sees no repetition.

    Attributes:
        single: tokens that are, or contain, a breaker.
        tails: what must follow a token that ends like a breaker begins, for the breaker to be complete.
    """

    single: frozenset[int]
    tails: dict[int, tuple[tuple[int, ...], ...]]

    @cached_property
    def heads(self) -> frozenset[int]:
        """The tokens that may stop it."""
        return self.single | self.tails.keys()


class VocabularyFacts:
    """Facts about one vocabulary; None has no tokens, so that every fact about it is empty."""

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._pieces: tuple[bytes, ...] = vocabulary.pieces if vocabulary else ()
        self._special = vocabulary.special if vocabulary else frozenset()
        self.end: tuple[TokenId, ...] = tuple(sorted(vocabulary.end)) if vocabulary else ()
        self._breakers: dict[tuple[str, ...], Breakers] = {}

    @cached_property
    def protected(self) -> frozenset[int]:
        """Tokens that XTC leaves alone: special ones, ends, and those with a line end in them."""
        lines = (i for i, piece in enumerate(self._pieces) if b"\n" in piece)
        return frozenset(lines) | self._special | frozenset(self.end)

    @cached_property
    def newline_or_end(self) -> frozenset[int]:
        """The tokens that make ooba's XTC do nothing: the line end, and ends of the answer."""
        newline = (i for i, piece in enumerate(self._pieces) if piece == b"\n")
        return frozenset(newline) | frozenset(self.end)

    def breakers(self, texts: tuple[str, ...]) -> Breakers:
        """The breakers that `texts` make, as llama.cpp finds them."""
        found = self._breakers.get(texts)
        if found is None:
            found = self._breakers[texts] = self._find_breakers(texts)
        return found

    def _find_breakers(self, texts: tuple[str, ...]) -> Breakers:
        single: set[int] = set()
        tails: dict[int, set[tuple[int, ...]]] = {}
        for text in texts:
            wanted = text.encode()[:MAX_BREAKER_LEN]
            heads = [wanted[:n] for n in range(1, len(wanted))]
            for token, piece in enumerate(self._pieces):
                if wanted in piece:
                    single.add(token)
                    continue
                for head in heads:
                    if piece.endswith(head):
                        tail = self._encode(wanted[len(head) :])[:MAX_TAIL_LEN]
                        tails.setdefault(token, set()).add(tail)
        longest_first = {token: tuple(sorted(some, key=lambda t: (-len(t), t))) for token, some in tails.items()}
        return Breakers(frozenset(single), longest_first)

    def _encode(self, text: bytes) -> tuple[int, ...]:
        """`text` as the longest tokens that fit, from the left: what a tokenizer makes of most short texts."""
        tokens: list[int] = []
        while text:
            length = next((n for n in range(len(text), 0, -1) if text[:n] in self._ids), 0)
            if not length:
                return (*tokens, -1)
            tokens.append(self._ids[text[:length]])
            text = text[length:]
        return tuple(tokens)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {piece: i for i, piece in reversed(tuple(enumerate(self._pieces))) if i not in self._special}


def find_limit(tokens: Sequence[int], start: int, breakers: Breakers, most: int) -> int:
    """How many of the last tokens, `tokens[start:]`, DRY may look back on without crossing a breaker; right up to `most`.

    Offsets count from the end: at offset i, i tokens follow. A breaker of head and tail at offset i leaves i - len(tail)
    tokens.
    """
    end = len(tokens)
    num_seen = min(end - start, most + MAX_TAIL_LEN + 1)
    if breakers.heads.isdisjoint(tokens[end - num_seen :]):
        return end - start
    for offset in range(num_seen):
        token = tokens[end - 1 - offset]
        best = 0 if token in breakers.single else -1
        for tail in breakers.tails.get(token, ()):
            fits = max(best, 0) < len(tail) <= offset
            if fits and tuple(tokens[end - offset : end - offset + len(tail)]) == tail:
                best = len(tail)
                break
        if best >= 0:
            return offset - best
    return end - start
