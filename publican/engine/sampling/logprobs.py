"""Log probabilities of chosen tokens and of the likeliest beside them, in both meanings. Engine thread only.

*Raw* is the model's own distribution (with guidance), before anything else; *processed* is the one that was drawn from. The
chosen token's is always given, and as many of the likeliest as the row wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from publican.core.ids import TokenId
from publican.engine.sampling.arrays import Array, Host
from publican.engine.sampling.draw import Drawn
from publican.engine.sampling.group import Group
from publican.engine.sampling.rows import Rows


class Choice(NamedTuple):
    """A chosen token, with its log probability and the likeliest others where the row wants them.

    Log probabilities are those of the model's own distribution, before anything here changed it (OpenAI's meaning); with
    `processed_logprobs` those of the distribution that was drawn from.
    """

    token: TokenId
    logprob: float | None = None
    top: tuple[tuple[TokenId, float], ...] = ()


def raw_rows(group: Group, rows: Rows) -> Rows | None:
    """A copy of the logits of those members that want raw log probabilities, made before the samplers change them."""
    if not group.wants_raw:
        return None
    which = rows.space.put(np.array(group.wants_raw, dtype=np.int64))
    copied = Rows(rows.passes, rows.space.rows_of(rows.logits, which))
    copied.repair()
    return copied


def with_logprobs(group: Group, rows: Rows, raw: Rows | None, drawn: Drawn | None, tokens: Sequence[int]) -> list[Choice]:
    """The choices of all members of a group."""
    choices = [Choice(TokenId(token)) for token in tokens]
    states = group.batch.states
    if raw is not None:
        chosen = [TokenId(tokens[i]) for i in group.wants_raw]
        columns = raw.space.put(np.array(chosen, dtype=np.int64)[:, None])
        some = choices_of(raw, columns, chosen, [states[i].num_logprobs or 0 for i in group.wants_raw])
        for i, choice in zip(group.wants_raw, some, strict=True):
            choices[i] = choice
    if group.wants_processed:
        counts = [states[i].num_logprobs or 0 for i in range(len(states))]
        assert drawn is not None
        some = certain(tokens, counts) if group.is_greedy else choices_of(rows, drawn.columns, choices_tokens(choices), counts)
        for i in group.wants_processed:
            choices[i] = some[i]
    return choices


def choices_tokens(choices: Sequence[Choice]) -> list[TokenId]:
    return [choice.token for choice in choices]


def certain(tokens: Sequence[int], counts: Sequence[int]) -> list[Choice]:
    """What greedy rows are drawn from: one token, for sure."""
    return [Choice(TokenId(t), 0.0, ((TokenId(t), 0.0),) if count else ()) for t, count in zip(tokens, counts, strict=True)]


def choices_of(rows: Rows, columns: Array, tokens: Sequence[TokenId], counts: Sequence[int]) -> list[Choice]:
    """`tokens`, which stand in `columns` int64 [B, 1], with their log probabilities and `counts` likeliest each."""
    xp = rows.xp
    depths = xp.astype(rows.space.pick(rows.depths, columns), xp.float64)
    own = rows.space.get(depths - xp.log(rows.total))[:, 0].tolist()
    if not max(counts):
        return [Choice(token, logprob) for token, logprob in zip(tokens, own, strict=True)]
    best, values = likeliest_of(rows, max(counts))
    tops = (as_pairs(best[i, :count], values[i, :count]) for i, count in enumerate(counts))
    return [Choice(token, logprob, top) for token, logprob, top in zip(tokens, own, tops, strict=True)]


def likeliest_of(rows: Rows, count: int) -> tuple[Host, Host]:
    """The `count` likeliest tokens of each row, likeliest first, of equals the lowest id; -inf where fewer are in.

    Returns:
        tokens int64 and log probabilities float64, [B, ≤ count].
    """
    xp, space = rows.xp, rows.space
    depths, tokens, log_total = rows.depths, rows.tokens, xp.log(rows.total)
    if tokens is None:
        picked = rows.above_nth(count)
        depths = rows.values_at(picked, depths, -xp.inf)
        tokens = picked.places % rows.num_columns
    order = xp.argsort(-depths, axis=-1, stable=True)[:, : min(count, depths.shape[1])]
    best = xp.astype(xp.take_along_axis(depths, order, axis=-1), xp.float64) - log_total
    return space.get(xp.take_along_axis(tokens, order, axis=-1)), space.get(best)


def as_pairs(tokens: Host, values: Host) -> tuple[tuple[TokenId, float], ...]:
    """Tokens and values of one row, without those that are out."""
    pairs = zip(tokens.tolist(), values.tolist(), strict=True)
    return tuple((TokenId(token), value) for token, value in pairs if value != -np.inf)
