"""Texts on their way to vectors: how a model's vectors are made, as its files say it, and the tokens of a text. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from publican.core.errors import InvalidRequest, PromptTooLong
from publican.core.ids import TokenId
from publican.core.model import Checkpoint, Pooling

_GGUF_POOLINGS: Mapping[int, Pooling] = {1: "mean", 2: "cls", 3: "last"}
_HF_POOLINGS: tuple[tuple[str, Pooling], ...] = (
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_lasttoken", "last"),
)
_HF_POOLING_FILE = Path("1_Pooling", "config.json")
_MAX_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class VectorStyle:
    """How a model makes vectors.

    Attributes:
        pooling: what becomes of the states of a text's tokens. A model that was not made for vectors gets the mean, which
            says more than the state from which such a model would have guessed the next token.
        end: a token that its makers put behind every text; None for none.
        only: it makes vectors and writes no text.
        meant: its makers said how its vectors are made, so they are what it is for.
    """

    pooling: Pooling = "mean"
    end: TokenId | None = None
    only: bool = False
    meant: bool = False

    def fitting(self, tokens: tuple[TokenId, ...], context_len: int, truncate: bool) -> tuple[TokenId, ...]:
        """`tokens`, with the end behind them.

        Raises:
            InvalidRequest: there are none.
            PromptTooLong: there are too many, and nothing may be cut off.
        """
        end = () if self.end is None or tokens[-1:] == (self.end,) else (self.end,)
        if len(tokens) + len(end) > context_len:
            if not truncate:
                raise PromptTooLong(len(tokens) + len(end), context_len)
            tokens = tokens[: context_len - 1] if self.end is not None else tokens[:context_len]
            end = () if self.end is None else (self.end,)
        if not tokens and not end:
            raise InvalidRequest("The text is empty, and this model has no token to begin with; send some text.")
        return (*tokens, *end)


def vector_style(checkpoint: Checkpoint, is_encoder: bool, text_end: TokenId | None = None) -> VectorStyle:
    """How the model in `checkpoint` makes vectors. Reads a small file beside it if it is a folder, whose tokenizer puts
    `text_end` behind a text."""
    is_gguf = checkpoint.format == "gguf"
    pooling = _pooling_of_gguf(checkpoint.metadata) if is_gguf else _pooling_of_folder(checkpoint.path)
    end = _end_of_gguf(checkpoint.metadata) if is_gguf else text_end
    return VectorStyle(pooling or "mean", end, is_encoder, meant=is_encoder or pooling is not None)


def _pooling_of_gguf(metadata: Mapping[str, Any]) -> Pooling | None:
    said = metadata.get(f"{metadata.get('general.architecture')}.pooling_type")
    return _GGUF_POOLINGS.get(said) if isinstance(said, int) else None


def _end_of_gguf(metadata: Mapping[str, Any]) -> TokenId | None:
    """BERT's separator, or the end of sequence where the file wants it behind a text (Qwen3-Embedding; bge-m3, whose kind of
    tokens wants it unless the file says otherwise)."""
    kind = metadata.get("tokenizer.ggml.model")
    is_bert, usual = kind == "bert", kind == "t5"
    name, wanted = ("seperator", True) if is_bert else ("eos", metadata.get("tokenizer.ggml.add_eos_token", usual))
    token = metadata.get(f"tokenizer.ggml.{name}_token_id")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if is_bert and token is None and isinstance(tokens, tuple) and "[SEP]" in tokens:
        token = tokens.index("[SEP]")
    return TokenId(token) if wanted is True and type(token) is int else None


def _pooling_of_folder(folder: Path) -> Pooling | None:
    try:
        with open(folder / _HF_POOLING_FILE, "rb") as file:
            said = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    modes = said if isinstance(said, dict) else {}
    return next((pooling for key, pooling in _HF_POOLINGS if modes.get(key) is True), None)
