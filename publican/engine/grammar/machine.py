"""llguidance's machines: a vocabulary and a grammar text become one. Any thread; holds nothing."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from publican.core.errors import InvalidParameter
from publican.core.tokenizer import Vocabulary


def tokenizer_of(vocabulary: Vocabulary) -> LLTokenizer:
    ends: list[int] = sorted(vocabulary.end) or [0]
    return LLTokenizer(TokenizerWrapper(_Pieces(vocabulary, ends[0])), eos_token=list(ends))


def machine_of(tokenizer: LLTokenizer, name: str, text: str) -> LLMatcher:
    """The machine of the grammar `text`, which the parameter `name` asked for. Releases the GIL.

    Raises:
        InvalidParameter: it is not well-formed, or too complex.
    """
    machine = LLMatcher(tokenizer, text, log_level=0)
    if machine.is_error():
        raise InvalidParameter(name, f"cannot be followed: {_first_line(machine.get_error())}")
    return machine


class _Pieces:
    """The vocabulary as llguidance wants to see one. Forced text is cut greedily, the longest piece first."""

    def __init__(self, vocabulary: Vocabulary, eos: int) -> None:
        self.eos_token_id = eos
        self.bos_token_id = vocabulary.bos
        self.tokens = [bytes(piece) for piece in vocabulary.pieces]
        self.special_token_ids = sorted(vocabulary.special)
        self._ids = {piece: id for id, piece in reversed(list(enumerate(self.tokens))) if id not in vocabulary.special}
        self._longest = max(map(len, self._ids), default=1)

    def __call__(self, text: bytes | str) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        ids: list[int] = []
        while data:
            length = next((n for n in range(min(self._longest, len(data)), 0, -1) if data[:n] in self._ids), None)
            if length is None:
                return ids
            ids.append(self._ids[data[:length]])
            data = data[length:]
        return ids


def _first_line(text: str) -> str:
    """A library's complaint in one line."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return line[:300].rstrip(".") + "."
