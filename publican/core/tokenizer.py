"""What a model's vocabulary looks like to the engine, and to whoever turns text into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from publican.core.ids import TokenId


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's tokens as bytes. Concatenated pieces are the text, in UTF-8, with no exception for the first.

    Attributes:
        pieces: the bytes of each token; a special token has its name, ``b"<|im_end|>"``.
        special: ids that are not text: control tokens, which a reader does not want to see.
        end: ids that end an answer (end of sequence, of turn, of message).
        bos: put first by `Tokenizer.encode` where the model wants it; None if it has none.
    """

    pieces: tuple[bytes, ...]
    special: frozenset[TokenId] = frozenset()
    end: frozenset[TokenId] = frozenset()
    bos: TokenId | None = None

    @property
    def size(self) -> int:
        return len(self.pieces)


class Tokenizer(Protocol):
    """Text to tokens and back. Thread-safe, and fast enough to be called on any thread."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def encode(self, text: str, add_bos: bool = True, parse_special: bool = True) -> list[TokenId]:
        """`parse_special` reads the names of special tokens in `text` as those tokens.

        `add_bos` adds the beginning-of-sequence token if the model wants one; never a second one.
        """
        ...

    def decode(self, tokens: Sequence[TokenId], skip_special: bool = True) -> str: ...
