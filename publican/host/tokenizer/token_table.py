"""A GGUF file's vocabulary as a table: each token's text, kind and score, checked once so that nobody else has to.

Follows llama.cpp in what the kinds mean, and in which tokens it declares to be control tokens against the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from publican.core.errors import ModelFileError
from publican.core.ids import TokenId


class TokenKind(IntEnum):
    """As GGUF numbers them."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class TokenTable:
    """A vocabulary; the index is the token's id.

    Attributes:
        texts: as the file spells them. ids: the way back.
        scores: of SentencePiece vocabularies; a higher one is merged first.
    """

    texts: tuple[str, ...]
    kinds: tuple[TokenKind, ...]
    scores: tuple[float, ...]
    ids: Mapping[str, TokenId]

    def first_of(self, texts: Iterable[str]) -> TokenId | None:
        """The first of `texts` that is a token."""
        return next((self.ids[text] for text in texts if text in self.ids), None)

    def with_kinds(self, changed: Mapping[TokenId, TokenKind]) -> TokenTable:
        kinds = list(self.kinds)
        for token, kind in changed.items():
            kinds[token] = kind
        return replace(self, kinds=tuple(kinds))


def read_table(metadata: Mapping[str, Any]) -> TokenTable:
    """The vocabulary in a GGUF file's metadata.

    Raises:
        ModelFileError: there is none, or it contradicts itself.
    """
    texts = _strings(metadata, "tokenizer.ggml.tokens")
    if not texts:
        raise ModelFileError("The GGUF file has an empty vocabulary; get another copy of the model.")
    if "" in texts:
        texts = tuple(text or f"[EMPTY_{token}]" for token, text in enumerate(texts))
    ids = {text: TokenId(token) for token, text in enumerate(texts)}
    if len(ids) != len(texts):
        twice = next(text for token, text in enumerate(texts) if ids[text] != token)
        raise ModelFileError(f"The GGUF file's vocabulary has the token {twice!r:.60} twice; get another copy of the model.")
    kinds = _numbers(metadata, "tokenizer.ggml.token_type", len(texts), 1)
    known = {int(kind): kind for kind in TokenKind}
    undefined = TokenKind.UNDEFINED
    return TokenTable(
        texts,
        tuple([known.get(kind, undefined) for kind in kinds]),
        _numbers(metadata, "tokenizer.ggml.scores", len(texts), 0.0),
        ids,
    )


def merges_of(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges of a BPE vocabulary, the one that is made first first. A pair is parted at its first space but one."""
    pairs = []
    for merge in _strings(metadata, "tokenizer.ggml.merges"):
        at = merge.find(" ", 1)
        if at > 0:
            pairs.append((merge[:at], merge[at + 1 :]))
    return pairs


def token_id(metadata: Mapping[str, Any], name: str, table: TokenTable) -> TokenId | None:
    """The token that the key ``tokenizer.ggml.<name>_token_id`` names; None if there is no such key or no such token."""
    value = metadata.get(f"tokenizer.ggml.{name}_token_id")
    return TokenId(value) if type(value) is int and 0 <= value < len(table.texts) else None


def flag(metadata: Mapping[str, Any], key: str, default: bool) -> bool:
    value = metadata.get(key, default)
    if not isinstance(value, bool):
        raise ModelFileError(f"{key} in the GGUF header must be true or false, not {value!r:.60}.")
    return value


def text(metadata: Mapping[str, Any], key: str, default: str) -> str:
    value = metadata.get(key, default)
    if not isinstance(value, str):
        raise ModelFileError(f"{key} in the GGUF header must be a text, not {value!r:.60}.")
    return value


def _strings(metadata: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = metadata.get(key)
    if value is None:
        raise ModelFileError(
            f"The GGUF file has no {key}, so text cannot be turned into tokens; get another copy of the model."
        )
    if not isinstance(value, tuple) or not set(map(type, value)) <= {str}:
        raise ModelFileError(f"{key} in the GGUF header must be a list of texts; get another copy of the model.")
    return value


def _numbers(metadata: Mapping[str, Any], key: str, count: int, default: float) -> tuple[Any, ...]:
    value = metadata.get(key)
    if value is None:
        return (default,) * count
    if not isinstance(value, tuple) or len(value) < count or not set(map(type, value)) <= {int, float}:
        raise ModelFileError(f"{key} in the GGUF header must be a list of {count:,} numbers; get another copy of the model.")
    return value[:count]
