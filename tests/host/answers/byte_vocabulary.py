"""A vocabulary of bytes and the special tokens one names, and walks through a grammar over it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.grammar.compiler import Compiler
from publican.engine.grammar.matcher import Matcher

END = "<|im_end|>"


def vocabulary(special: Sequence[str]) -> Vocabulary:
    texts = [END, *special]
    pieces = (*(bytes([byte]) for byte in range(256)), *(text.encode() for text in texts))
    ids = frozenset(TokenId(id) for id in range(256, len(pieces)))
    return Vocabulary(pieces, ids, frozenset([TokenId(256)]))


def tokens_of(vocabulary: Vocabulary, text: str) -> list[TokenId]:
    names = {vocabulary.pieces[id].decode(): id for id in vocabulary.special}
    split = re.split("(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")", text)
    return [id for part in split for id in ([names[part]] if part in names else map(TokenId, part.encode()))]


class Walk:
    """One answer that follows a grammar, token by token."""

    def __init__(self, vocabulary: Vocabulary, sampling: SamplingParams) -> None:
        self._vocabulary = vocabulary
        compiler = Compiler(vocabulary)
        self._matcher = compiler.compile(sampling)
        compiler.close()

    def accepts(self, text: str) -> bool:
        """Whether `text` is a whole answer."""
        matcher = self._matcher.copy()
        return _take(matcher, tokens_of(self._vocabulary, text)) and matcher.complete

    def at_random(self, random: random.Random, closers: Sequence[str], most: int = 4_000) -> str:
        """Any answer: letters where anything may stand, and then the first of `closers` that leads out of there."""
        matcher, tokens = self._matcher.copy(), []
        num_free = 0
        while not matcher.ended and len(tokens) < most:
            allowed = _allowed(matcher, self._vocabulary.size)
            step = [random.choice(allowed)]
            if len(allowed) > 60:
                num_free += 1
                step = [TokenId(random.choice(b"abc \"',<{}])"))]
                if num_free > random.randrange(1, 12):
                    step = next(filter(None, (self._way_out(matcher, text) for text in closers)), step)
                    num_free = 0
                if step[0] not in allowed:
                    continue
            elif TokenId(256) in allowed and random.random() < 0.5:
                break
            assert _take(matcher, step)
            tokens.extend(step)
        if tokens and tokens[-1] == 256:
            tokens.pop()
        return b"".join(self._vocabulary.pieces[token] for token in tokens).decode("utf-8", "replace")

    def _way_out(self, matcher: Matcher, text: str) -> list[TokenId]:
        tokens = tokens_of(self._vocabulary, text)
        tried = matcher.copy()
        return tokens if _take(tried, tokens) and len(_allowed(tried, self._vocabulary.size)) < 60 else []


def _take(matcher: Matcher, tokens: Sequence[TokenId]) -> bool:
    return all(matcher.accept(token) for token in tokens)


def _allowed(matcher: Matcher, size: int) -> list[TokenId]:
    matcher.fill()
    return [TokenId(id) for id in range(size) if matcher.mask[id // 32] >> (id % 32) & 1]
