"""Counts kept up token by token are those of counting."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from publican.engine.sampling.history import Counts, History


@given(
    text=st.lists(st.integers(0, 6), max_size=120),
    num_prompt=st.integers(0, 60),
    first=st.integers(0, 120),
    window=st.integers(0, 30),
    stride=st.integers(1, 90),
)
@settings(max_examples=200, deadline=None)
def test_counts(text, num_prompt, first, window, stride):
    history = History()
    history.extend(text[:first])
    counts = Counts(history, num_prompt, window)
    for at in (*range(first, len(text), stride), len(text)):
        history.extend(text[history.size : at])
        counts.sync()
        so_far = text[: history.size]
        start = max(0, len(so_far) - window) if window else 0
        assert counts.start == start
        assert counts.size == len(so_far)
        slots = range(counts.num_slots)
        shown = {int(counts.tokens[s]): int(counts.total[s]) for s in slots if counts.total[s]}
        assert shown == Counter(so_far[start:])
        generated = {int(counts.tokens[s]): int(counts.generated[s]) for s in slots if counts.generated[s]}
        assert generated == Counter(so_far[max(start, num_prompt) :])
        last = {int(counts.tokens[s]): int(counts.last[s]) for s in slots if counts.total[s]}
        assert last == {token: i for i, token in enumerate(so_far) if i >= start}
        assert [int(counts.tokens[s]) for s in counts.slot_of[start : len(so_far)]] == so_far[start:]


def test_a_history_grows_and_goes_back():
    history = History()
    history.extend([1, 2, 3])
    history.rewind(2)
    history.extend(range(10, 200))
    assert history[:].tolist() == [1, 2, *range(10, 200)]
    history.rewind(500)
    assert history.size == 192
