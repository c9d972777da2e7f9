"""`Pipeline`: rows of logits in, chosen tokens out. Engine thread only.

One row per running sequence, from `add` to `remove`, whatever its place in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from publican.core.executor import Array
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.engine.sampling import reference
from publican.engine.sampling.rng import uniform


class Draw(NamedTuple):
    """Sample for sampler row `row` from row `logits_row` of the logits."""

    row: int
    logits_row: int


class Choice(NamedTuple):
    """A chosen token, with its log probability and the likeliest others where the row wants them.

    Log probabilities are those of the model's own distribution, before anything here changed it (OpenAI's meaning).
    """

    token: TokenId
    logprob: float | None = None
    top: tuple[tuple[TokenId, float], ...] = ()


class _Row(NamedTuple):
    params: SamplingParams
    tokens: Sequence[TokenId]
    num_logprobs: int | None


class Pipeline:
    """Samplers of all running sequences."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._free: list[int] = []

    def add(self, params: SamplingParams, tokens: Sequence[TokenId], num_logprobs: int | None = None) -> int:
        """A row for a sequence. `tokens` is its live list, prompt first: read here, appended to by the engine."""
        row = self._free.pop() if self._free else len(self._rows)
        self._rows[row] = _Row(params, tokens, num_logprobs)
        return row

    def remove(self, row: int) -> None:
        del self._rows[row]
        self._free.append(row)

    def sample(self, logits: Array, draws: Sequence[Draw]) -> list[Choice]:
        """The next token of every draw, in order. May write to `logits`, float32 [N, V]."""
        return [self._sample_one(np.asarray(logits[draw.logits_row]), self._rows[draw.row]) for draw in draws]

    def _sample_one(self, logits: reference.Row, row: _Row) -> Choice:
        params = row.params
        processed = reference.process(logits, params, row.tokens)
        assert params.seed is not None
        token = TokenId(reference.choose(processed, params, uniform(params.seed, len(row.tokens))))
        if row.num_logprobs is None:
            return Choice(token)
        return self.logprobs(logits[None, :], [token], row.num_logprobs)[0]

    def logprobs(self, logits: Array, tokens: Sequence[TokenId], num_top: int) -> list[Choice]:
        """The log probability of `tokens[i]` under row i of `logits`, and the `num_top` likeliest, likeliest first."""
        choices = []
        for row, token in zip(np.asarray(logits, dtype=np.float64), tokens, strict=True):
            values = reference.log_softmax(row)
            best = np.argsort(-values, kind="stable")[:num_top]
            choices.append(Choice(token, float(values[token]), tuple((TokenId(int(i)), float(values[i])) for i in best)))
        return choices
