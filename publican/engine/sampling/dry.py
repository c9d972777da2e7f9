"""DRY, "don't repeat yourself" (p-e-w): a token that would go on with a repetition costs multiplier · base^(length - allowed).

For each earlier place where the text read as it reads now, the token that came next there is penalised by how long the two
agree, the longest counting; nothing is seen across a breaker. Rules: section 4.20 of the sampler notes (llama.cpp's,
KoboldCpp's variant).

Host work per step is one comparison with the whole history and a few steps per place where the last token stood before.
"""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Host
from publican.engine.sampling.batch import Batch
from publican.engine.sampling.facts import Breakers, find_limit
from publican.engine.sampling.history import History
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.state import RowState

_LARGEST_LOG = 88.7228391
"""ln of the largest float32."""
_LARGEST = 3.0e38
_FILTER_STEPS = 64


class Matches:
    """How long the text that ends at each earlier place agrees with the text that ends now.

    Kept up token by token: where the new token stood before, the agreement is one longer than that of the place before it
    was; all others are over.

    Attributes:
        ends: the places whose agreement is at least 1, and `lengths` theirs.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._lengths: Host = np.zeros(0, dtype=np.int64)
        self.ends: Host = np.zeros(0, dtype=np.int64)
        self._seen = 0
        self._rebuild()

    def sync(self) -> None:
        behind = self._history.size - self._seen
        if behind > 8:
            self._rebuild()
        else:
            for size in range(self._seen + 1, self._history.size + 1):
                self._step(size)

    @property
    def lengths(self) -> Host:
        lengths: Host = self._lengths[self.ends + 1]
        return lengths

    def _step(self, size: int) -> None:
        """Token `size` - 1 was appended. `_lengths` is shifted by one, so that nothing has to be said of what is before 0."""
        if size >= len(self._lengths):
            self._lengths = np.concatenate((self._lengths, np.zeros(max(size, 64), dtype=np.int64)))
        tokens = self._history[:size]
        ends = (tokens[:-1] == tokens[-1]).nonzero()[0]
        lengths = self._lengths[ends] + 1
        self._lengths[self.ends + 1] = 0
        self._lengths[ends + 1] = lengths
        self.ends = ends
        self._seen = size

    def _rebuild(self) -> None:
        tokens = self._history[:]
        size = len(tokens)
        self._seen = size
        self._lengths = np.zeros(size + 64, dtype=np.int64)
        self.ends = np.flatnonzero(tokens[:-1] == tokens[-1]) if size else np.zeros(0, dtype=np.int64)
        alive = self.ends
        for length in range(1, _FILTER_STEPS + 1):
            self._lengths[alive + 1] = length
            alive = alive[alive >= length]
            if not len(alive):
                return
            alive = alive[tokens[alive - length] == tokens[size - 1 - length]]
        # so long a repetition, or so many: the linear way
        lengths = suffix_agreements(tokens)
        self._lengths[1 : size + 1] = lengths


def suffix_agreements(tokens: Host) -> Host:
    """How long the text that ends at each place agrees with the whole; 0 for the last place. Z-algorithm, O(n)."""
    text = tokens[::-1].tolist()
    size = len(text)
    agreements = [0] * size
    left = right = 0
    for i in range(1, size):
        length = min(right - i, agreements[i - left]) if i < right else 0
        while i + length < size and text[length] == text[i + length]:
            length += 1
        agreements[i] = length
        if i + length > right:
            left, right = i, i + length
    return np.array(agreements[::-1], dtype=np.int64)


class Dry:
    steps = ("dry",)

    def __init__(self) -> None:
        self._is_on: dict[int, bool] = {}

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._is_on[row] = "dry" in stack

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        owners, tokens, amounts = [], [], []
        for i, (row, state) in enumerate(zip(batch.rows.tolist(), batch.states, strict=True)):
            if self._is_on[row]:
                breakers = batch.facts.breakers(state.params.dry_sequence_breakers)
                some, amount = penalties(state, breakers)
                owners.append(i)
                tokens.append(some)
                amounts.append(amount)
        if not any(len(some) for some in tokens):
            return
        if rows.is_plain_host:
            for owner, some, amount in zip(owners, tokens, amounts, strict=True):
                row = rows.logits[owner]
                row[some] -= amount.astype(row.dtype)
            rows.changed()
            return
        space = rows.space
        at_rows, columns, found = rows.find(
            space.put(np.repeat(owners, [len(some) for some in tokens])), space.put(np.concatenate(tokens))
        )
        amount = space.put(np.concatenate(amounts), rows.logits.dtype)
        rows.set(at_rows, columns, rows.at(at_rows, columns) - (amount if found is None else amount[found]))


def penalties(state: RowState, breakers: Breakers) -> tuple[Host, Host]:
    """The tokens that DRY penalises in this row, each once, and by how much."""
    params = state.params
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    history = state.synced()
    matches: Matches | None = state.memory.get("dry")
    if matches is None:
        matches = state.memory["dry"] = Matches(history)
    else:
        matches.sync()
    size = history.size
    start = max(0, size - params.dry_range) if params.dry_range else 0
    allowed = params.dry_allowed_length
    if size - start <= allowed or not len(matches.ends):
        return nothing
    longest = _longest_that_matters(params)
    limit = find_limit(state.tokens, start, breakers, longest)
    if limit < allowed or (params.dry_rule == "koboldcpp" and limit <= allowed):
        return nothing
    ends = matches.ends
    lengths = np.minimum(np.minimum(matches.lengths, ends - start + 1), min(limit, longest))
    far = lengths >= max(allowed, 1)
    if not far.any():
        return nothing
    tokens, lengths = history[:][ends[far] + 1], lengths[far]
    order = np.argsort(lengths, kind="stable")
    longest_of = dict(zip(tokens[order].tolist(), lengths[order].tolist(), strict=True))
    if params.dry_rule != "koboldcpp":
        longest_of = {token: length for token, length in longest_of.items() if token not in breakers.single}
    exponents = np.array(list(longest_of.values()), dtype=np.float64) - allowed
    amounts = np.minimum(params.dry_multiplier * params.dry_base ** np.minimum(exponents, _largest_exponent(params)), _LARGEST)
    return np.array(list(longest_of), dtype=np.int64), amounts


def _largest_exponent(params: SamplingParams) -> float:
    return math.floor(_LARGEST_LOG / math.log(params.dry_base)) if params.dry_base > 1.000001 else math.inf


def _longest_that_matters(params: SamplingParams) -> int:
    """Agreements longer than this cost no more."""
    most = _largest_exponent(params) + params.dry_allowed_length
    capped = params.dry_max_match or math.inf
    return int(min(most, capped, 2**31 - 1))
