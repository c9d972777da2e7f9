"""Unigram (Kudo 2018), as SentencePiece cuts text for T5 and XLM-RoBERTa (bge-m3): the characters are made alike by a table in
the file, and then come the pieces whose scores add up to most.

GGUF files call it ``t5``. Token for token what llama.cpp makes of it. Pure; any thread may call.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from publican.core.errors import ModelFileError
from publican.core.ids import TokenId
from publican.host.tokenizer.spm import SPACE
from publican.host.tokenizer.token_table import TokenKind, TokenTable

_UNKNOWN_PENALTY = 10.0
"""How much less than the worst piece an unknown character is worth (SentencePiece's own number)."""
_USABLE = (TokenKind.NORMAL, TokenKind.USER_DEFINED, TokenKind.UNUSED)


@dataclass(frozen=True, slots=True)
class Spaces:
    """What is done to them: one goes before a text, and those that follow another go (`merge`)."""

    prefix: bool = True
    merge: bool = True


class Unigram:
    """Encodes text with the pieces of `table`; a run of characters that no piece has is one `unknown`."""

    def __init__(self, table: TokenTable, unknown: TokenId, characters: Characters, spaces: Spaces) -> None:
        self._unknown = unknown
        self._characters = characters
        self._spaces = spaces
        self._pieces: dict[str, tuple[TokenId, float]] = {}
        self._longest: dict[str, int] = {}
        for token, (text, kind) in enumerate(zip(table.texts, table.kinds, strict=True)):
            if kind in _USABLE:
                score = 0.0 if kind == TokenKind.USER_DEFINED else table.scores[token]
                self._pieces[text] = TokenId(token), score
                self._longest[text[0]] = max(self._longest.get(text[0], 0), len(text))
        normal = (score for score, kind in zip(table.scores, table.kinds, strict=True) if kind == TokenKind.NORMAL)
        self._unknown_score = min(normal, default=0.0) - _UNKNOWN_PENALTY

    def encode(self, text: str) -> list[TokenId]:
        return self._best(self._spaced(self._characters.alike(text)))

    def _spaced(self, text: str) -> str:
        if self._spaces.merge:
            return "".join(SPACE + word for word in text.split(" ") if word)
        before = SPACE if self._spaces.prefix and text.strip(" ") else ""
        at = len(text) - len(text.lstrip(" "))
        return (text[:at] + before + text[at:]).replace(" ", SPACE)

    def _best(self, text: str) -> list[TokenId]:
        """The way through `text` whose scores add up to most (Viterbi); of equals, the one that was found first."""
        scores = [0.0, *[float("-inf")] * len(text)]
        steps: list[tuple[int, TokenId]] = [(0, self._unknown)] * (len(text) + 1)
        for start, first in enumerate(text):
            score, known_alone = scores[start], False
            for end in range(start + 1, min(start + self._longest.get(first, 0), len(text)) + 1):
                found = self._pieces.get(text[start:end])
                if found is None:
                    continue
                known_alone = known_alone or end == start + 1
                if score + found[1] > scores[end]:
                    scores[end], steps[end] = score + found[1], (start, found[0])
            if not known_alone and score + self._unknown_score > scores[start + 1]:
                scores[start + 1], steps[start + 1] = score + self._unknown_score, (start, self._unknown)
        return self._walked(steps, len(text))

    def _walked(self, steps: Sequence[tuple[int, TokenId]], end: int) -> list[TokenId]:
        tokens: list[TokenId] = []
        while end > 0:
            end, token = steps[end]
            if token != self._unknown or tokens[-1:] != [token]:
                tokens.append(token)
        return tokens[::-1]


class Characters:
    """SentencePiece's table of what is written instead of what: a trie (Darts' double array) over UTF-8, and its texts.

    Args:
        table: as the file has it; empty for none.

    Raises:
        ModelFileError: it is cut off.
    """

    def __init__(self, table: bytes = b"") -> None:
        self._nodes: tuple[int, ...] = ()
        self._texts = b""
        if not table:
            return
        size = struct.unpack_from("<I", table)[0] if len(table) >= 4 else len(table)
        if size % 4 or 4 + size > len(table):
            raise ModelFileError("The GGUF file's table of characters is cut off; get another copy of the model.")
        self._nodes = struct.unpack_from(f"<{size // 4}I", table, 4)
        self._texts = table[4 + size :]

    def alike(self, text: str) -> str:
        if not self._nodes:
            return text
        data, made, at = text.encode("utf-8", "replace"), bytearray(), 0
        while at < len(data):
            num_bytes, instead = self._longest_at(data, at)
            if num_bytes:
                made += instead
                at += num_bytes
            else:
                end = at + _utf8_len(data[at])
                made += data[at:end]
                at = end
        return made.decode("utf-8", "replace")

    def _longest_at(self, data: bytes, at: int) -> tuple[int, bytes]:
        """How many bytes from `at` on are written otherwise, and how; 0 for none."""
        found, where = 0, 0
        node = _base(self._nodes[0])
        for end in range(at, len(data)):
            byte = data[end]
            node ^= byte
            if not byte or node >= len(self._nodes) or self._nodes[node] & 0x8000_00FF != byte:
                break
            is_end = self._nodes[node] >> 8 & 1
            node ^= _base(self._nodes[node])
            if is_end and node < len(self._nodes):
                found, where = end + 1 - at, self._nodes[node] & 0x7FFF_FFFF
        if not found or where >= len(self._texts):
            return 0, b""
        return found, self._texts[where : self._texts.find(b"\0", where)]


def _base(node: int) -> int:
    return node >> 10 << ((node & 0x200) >> 6)


def _utf8_len(first: int) -> int:
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
