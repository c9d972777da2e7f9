"""`Fields`: numbers out of a model's own description, which anybody may have written.

Called by `spec_gguf` and `spec_hf`, on any thread. Everything taken through it is of its type, finite and within bounds
that keep later arithmetic sane, so what makes a `ModelSpec` need not check again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from publican.core.errors import ModelFileError
from publican.core.model import ModelSpec, Rope, TensorInfo

MAX_LAYERS = 1_000
MAX_HEADS = 4_096
MAX_HEAD_DIM = 4_096
MAX_WIDTH = 1 << 20
MAX_VOCAB = 1 << 24
MAX_CONTEXT = 1 << 26
MAX_EXPERTS = 4_096


class NotDescribedError(Exception):
    """The model may be sound, but a `ModelSpec` cannot say what it is; the readers turn this into None."""


class Fields:
    """Checked reading of a mapping whose values may be anything. None counts as absent.

    Args:
        where: what the mapping is, for error texts: ``config.json`` or ``the GGUF header``.
        prefix: stands before every key: ``llama.``.
    """

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self._values = values
        self._where = where
        self._prefix = prefix

    def get(self, key: str) -> Any:
        return self._values.get(self._prefix + key)

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def names(self, key: str) -> bool:
        """Whether the key is there at all, be it null."""
        return self._prefix + key in self._values

    def section(self, key: str) -> Fields | None:
        """A mapping inside this one, or None."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(key, value, "a table")
        return Fields(value, f"{key} in {self._where}")

    def count(self, key: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> int:
        """A whole number from `low` to `high`.

        Raises:
            ModelFileError: it is something else, or missing without a default.
            NotDescribedError: there is one for each layer, and they differ.
        """
        value = self._same(self.get(key))
        if value is None:
            if default is None:
                raise self._missing(key)
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, value, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, default: float | None = None, low: float = 0.0, high: float = 1e12) -> float:
        """A finite number from `low` to `high`. Raises what `count` raises."""
        value = self._same(self.get(key))
        if value is None:
            if default is None:
                raise self._missing(key)
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, key: str, num: int, low: float, high: float) -> tuple[float, ...]:
        """`num` finite numbers."""
        value = self.get(key)
        if value is None:
            raise self._missing(key)
        if not isinstance(value, list | tuple) or len(value) != num:
            raise self.wrong(key, value, f"a list of {num} numbers")
        if not all(isinstance(x, int | float) and not isinstance(x, bool) and low <= x <= high for x in value):
            raise self.wrong(key, value, f"a list of numbers from {low:g} to {high:g}")
        return tuple(float(x) for x in value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, value, "a text")
        return value

    def texts(self, key: str, num: int) -> tuple[str, ...]:
        """`num` texts, or none where the key is missing."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or len(value) < num or not all(isinstance(x, str) for x in value):
            raise self.wrong(key, value, f"a list of {num} texts")
        return tuple(value[:num])

    def wrong(self, key: str, value: object, wanted: str) -> ModelFileError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return ModelFileError(
            f"The model's files are damaged or hostile: {self._prefix}{key} in {self._where} should be {wanted}, and is "
            f"{shown}; download the model again."
        )

    def _missing(self, key: str) -> ModelFileError:
        return ModelFileError(
            f"The model's files are incomplete: {self._prefix}{key} is missing in {self._where}; download the model again."
        )

    @staticmethod
    def _same(value: object) -> object:
        """One number for all layers, where a list has the same for each."""
        if not isinstance(value, list | tuple) or not value:
            return value
        if any(type(x) is not type(value[0]) or x != value[0] for x in value):
            raise NotDescribedError("a number that differs from layer to layer")
        return value[0]


def checked(spec: ModelSpec, embedding: TensorInfo | None) -> ModelSpec:
    """`spec`, if its numbers fit each other and the embedding; its vocabulary becomes what the embedding has rows.

    Raises:
        ModelFileError: they do not.
    """
    if embedding is None or len(embedding.shape) != 2:
        raise ModelFileError("The model's files are incomplete: there is no table of token embeddings; download it again.")
    vocab_size, hidden_size = embedding.shape
    problems = {
        "the number of heads is not a multiple of the number of key-value heads": spec.num_heads % spec.num_kv_heads,
        "the embedding is not as wide as the model": hidden_size != spec.hidden_size,
        "the vocabulary is empty or absurd": not 0 < vocab_size <= MAX_VOCAB,
        "the rotary dimension is not even, or larger than a head": not all(_rope_fits(r, spec) for r in _ropes(spec)),
        "a list of layers has the wrong length": any(len(x) not in (0, spec.num_layers) for x in _layer_lists(spec)),
        "a token takes more experts than a layer has": spec.mixture is not None
        and spec.mixture.num_experts_per_token > spec.mixture.num_experts,
    }
    for problem, found in problems.items():
        if found:
            raise ModelFileError(f"The model's files are damaged or hostile: {problem}; download the model again.")
    return dataclasses.replace(spec, vocab_size=vocab_size)


def _layer_lists(spec: ModelSpec) -> list[tuple[bool, ...]]:
    return [spec.windowed, spec.rotated, *([] if spec.mixture is None else [spec.mixture.layers])]


def _ropes(spec: ModelSpec) -> list[Rope]:
    return [spec.rope] if spec.local_rope is None else [spec.rope, spec.local_rope]


def _rope_fits(rope: Rope, spec: ModelSpec) -> bool:
    return rope.dim % 2 == 0 and 0 < rope.dim <= spec.head_dim and math.isfinite(rope.theta) and rope.theta > 1.0
