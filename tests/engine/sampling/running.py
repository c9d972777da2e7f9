"""Runs rows through the pipeline in any array library, and through its plain twin."""

from __future__ import annotations

from collections.abc import Sequence

import array_api_strict
import numpy as np
import torch

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.facts import VocabularyFacts
from publican.engine.sampling.feedback import Trail
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.engine.sampling.reference.row import Known
from publican.engine.sampling.rng import Purpose, uniform

LIBRARIES = {
    "numpy": lambda array: array.copy(),
    "torch": lambda array: torch.from_numpy(array.copy()),
    "strict": lambda array: array_api_strict.asarray(array.copy()),
}


def letters(size: int, end: Sequence[int] = (), newline: int | None = None) -> Vocabulary:
    """A vocabulary whose token i is the letter i; from 26 on, of two letters and more."""
    pieces = [_letters(i) for i in range(size)]
    if newline is not None:
        pieces[newline] = b"\n"
    return Vocabulary(tuple(pieces), frozenset(), frozenset(TokenId(t) for t in end))


def _letters(number: int) -> bytes:
    text = b""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = bytes([97 + digit]) + text
    return text


def to_host(array: object) -> np.ndarray:
    return np.asarray(array)


class Runner:
    """A pipeline with rows, fed from NumPy arrays in the array library under test."""

    def __init__(self, library: str = "numpy", vocabulary: Vocabulary | None = None) -> None:
        self.pipeline = Pipeline(vocabulary)
        self.facts = VocabularyFacts(vocabulary)
        self._convert = LIBRARIES[library]

    def add(self, params: SamplingParams, tokens: Sequence[int] = (), num_prompt: int | None = None, **rest) -> int:
        if params.seed is None and not params.is_greedy:
            raise AssertionError("give it a seed")
        return self.pipeline.add(params, tokens, num_prompt=num_prompt, **rest)

    def process(self, logits: np.ndarray, rows: Sequence[int], draws: Sequence[Draw] | None = None) -> np.ndarray:
        draws = draws or [Draw(row, i) for i, row in enumerate(rows)]
        return to_host(self.pipeline.process(self._convert(logits), draws))

    def sample(self, logits: np.ndarray, rows: Sequence[int], draws: Sequence[Draw] | None = None):
        return self.pipeline.sample(self._convert(logits), draws or [Draw(row, i) for i, row in enumerate(rows)])

    def set_trail(self, row: int, name: str, *value: float) -> None:
        self.pipeline._states[row].trails[name] = Trail(value)


def known_of(params: SamplingParams, tokens: Sequence[int], num_prompt: int, facts: VocabularyFacts, **rest) -> Known:
    """What the plain twin must know for the token that comes next."""
    seed, position = params.seed or 0, len(tokens)
    return Known(
        tokens,
        num_prompt,
        facts=facts,
        xtc_number=uniform(seed, position, Purpose.XTC),
        token_number=uniform(seed, position),
        **rest,
    )
