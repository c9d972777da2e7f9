"""WordPiece (Wu et al. 2016), as BERT cuts text: into words in small letters without accents, and these into the longest pieces
that the vocabulary has. GGUF files write the first piece of a word with ▁ before it, and the others bare.

Pure; any thread may call.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from publican.core.ids import TokenId
from publican.host.tokenizer.spm import SPACE

_LONGEST_WORD = 100
"""Longer ones are not cut up, but unknown (BERT's own rule)."""
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Characters that are words of their own."""


class WordPiece:
    """Encodes text with the pieces `ids`; a word that cannot be spelt with them is `unknown`."""

    def __init__(self, ids: Mapping[str, TokenId], unknown: TokenId) -> None:
        self._ids = ids
        self._unknown = unknown
        self._longest = max(map(len, ids), default=0)

    def encode(self, text: str) -> list[TokenId]:
        return [token for word in _words(text) for token in self._pieces(SPACE + word)]

    def _pieces(self, word: str) -> list[TokenId]:
        if len(word) > _LONGEST_WORD + 1:
            return [self._unknown]
        found: list[TokenId] = []
        begin = 0
        while begin < len(word):
            ends = range(min(len(word), begin + self._longest), begin, -1)
            end = next((end for end in ends if word[begin:end] in self._ids), None)
            if end is None:
                return [self._unknown]
            found.append(self._ids[word[begin:end]])
            begin = end
        return found


def _words(text: str) -> Iterator[str]:
    """The words of `text`; marks and Chinese characters are words of one character."""
    word: list[str] = []
    for char in unicodedata.normalize("NFD", text):
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            yield from _joined(word)
        elif category in ("Mn", "Cc", "Cf", "Co", "Cs", "Cn") or char == "\ufffd":
            continue
        elif category.startswith("P") or _is_ascii_mark(char) or _is_chinese(char):
            yield from _joined(word)
            yield char
        else:
            word.append(char.lower())
    yield from _joined(word)


def _joined(word: list[str]) -> Iterator[str]:
    if word:
        yield "".join(word)
        word.clear()


def _is_ascii_mark(char: str) -> bool:
    return char.isascii() and not char.isalnum()


def _is_chinese(char: str) -> bool:
    code = ord(char)
    return code >= 0x3400 and any(first <= code <= last for first, last in _CHINESE)
