"""What a plan says of one sequence. Pure, and engine thread only; the scheduler decides who gets how much."""

from __future__ import annotations

from typing import NamedTuple

from publican.core.step import Row
from publican.engine.sequence import Sequence

_MAX_AHEAD = 16
"""Up to so many pending tokens are not a prompt but the next token, and what a grammar or a draft put before it."""


class Planned(NamedTuple):
    """A sequence in a plan, and how many tokens it gets there."""

    sequence: Sequence
    num_tokens: int


def is_ready(sequence: Sequence) -> bool:
    """Whether so little is pending, for it and for its peers, that all of it goes into one step."""
    return not sequence.reads_whole_prompt and all(
        peer.slot is not None and peer.num_pending <= _MAX_AHEAD for peer in sequence.unit
    )


def order(sequence: Sequence) -> tuple[int, int]:
    return sequence.group.arrival, sequence.index


def is_kept(sequence: Sequence) -> bool:
    """Whether others may begin with what is computed for it. Texts that become vectors are many and come once: their
    tokens would only push conversations out."""
    return sequence.group.search is None or sequence.group.search.writes


def num_logits_of(sequence: Sequence, num_tokens: int) -> int:
    """How many rows of logits a sequence wants that is planned with `num_tokens`."""
    if not is_kept(sequence):
        return 0
    if sequence.reads_whole_prompt:
        return num_tokens
    return 1 + len(sequence.draft) if num_tokens == sequence.num_pending else 0


def num_hidden_of(sequence: Sequence, num_tokens: int) -> int:
    """How many hidden states a sequence wants that is planned with `num_tokens`."""
    search = sequence.group.search
    return num_tokens if search is not None and search.hidden_wanted else 0


def row_of(sequence: Sequence, num_tokens: int) -> Row:
    assert sequence.slot is not None
    start = sequence.num_computed
    tokens = sequence.tokens[start : start + num_tokens] + sequence.draft
    num_logits, num_hidden = num_logits_of(sequence, num_tokens), num_hidden_of(sequence, num_tokens)
    return Row(sequence.slot, tokens, start, num_logits, num_hidden, sequence.adapter)
