"""How many guesses pay, by times and chances."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.engine.drafting.chance import Chance
from publican.engine.drafting.worth import Candidate, StepTimes, Worth


def worth_of(target_ms: dict[int, float], draft_ms: float) -> Worth:
    worth = Worth()
    for num_tokens, ms in target_ms.items():
        worth.target.learn(num_tokens, ms / 1e3)
    for _ in range(4):
        worth.draft.learn(1, draft_ms / 1e3)
        worth.draft.learn(8, draft_ms / 1e3)
    return worth


FLAT = {n: 10.0 + 0.1 * n for n in range(1, 33)}
STEEP = {n: 2.0 + 2.0 * n for n in range(1, 33)}


def depth(worth: Worth, chance: float, most: int = 8) -> int:
    (found,) = worth.depths([Candidate(chance, most, 1)], 1, 16)
    return found


def test_the_likelier_the_longer():
    worth = worth_of(FLAT, 1.0)
    depths = [depth(worth, chance) for chance in (0.05, 0.3, 0.6, 0.8, 0.95, 1.0)]
    assert depths == sorted(depths)
    assert depths[0] == 0
    assert depths[-1] == 8


def test_a_draft_as_slow_as_its_target_is_of_no_use():
    assert depth(worth_of(FLAT, 10.0), 1.0) == 0
    assert not worth_of(FLAT, 10.0).could_pay(1, 8)
    assert worth_of(FLAT, 1.0).could_pay(1, 8)


def test_a_target_that_gains_nothing_by_batches_wants_no_guesses():
    assert depth(worth_of(STEEP, 1.0), 0.7) == 0


def test_many_answers_pay_for_the_guesses_of_each():
    """What another row costs, everybody waits for."""
    stairs = {n: 10.0 if n <= 8 else 10.0 + 5.0 * (n - 8) for n in range(1, 65)}
    worth = worth_of(stairs, 1.0)
    alone = worth.depths([Candidate(0.8, 8, 1)], 1, 32)
    crowd = worth.depths([Candidate(0.8, 8, 1)] * 8, 8, 32)
    assert alone[0] >= 3
    assert crowd == [0] * 8


def test_the_hopeless_do_not_hold_up_the_others():
    depths = worth_of({n: 10.0 + 0.4 * n for n in range(1, 33)}, 0.5).depths(
        [Candidate(0.95, 8, 1), Candidate(0.01, 8, 1)], 2, 16
    )
    assert depths[0] >= 4
    assert depths[1] <= 1


def test_what_was_never_measured_is_tried():
    assert depth(Worth(), 0.7) > 0


@given(
    st.lists(st.builds(Candidate, st.floats(0, 1), st.integers(0, 8), st.integers(1, 16)), max_size=6),
    st.integers(1, 8),
    st.integers(0, 20),
    st.dictionaries(st.integers(1, 40), st.floats(1e-6, 1.0), max_size=5),
    st.floats(0, 1),
)
def test_never_more_than_there_is_room_for(candidates, num_planned, num_free, target, draft_s):
    worth = Worth()
    for num_tokens, step_s in target.items():
        worth.target.learn(num_tokens, step_s)
        worth.draft.learn(num_tokens, draft_s)
    depths = worth.depths(candidates, num_planned, num_free)
    assert sum(depths) <= num_free
    assert all(0 <= depth <= one.most for depth, one in zip(depths, candidates, strict=True))


def test_a_slow_first_step_is_forgotten():
    times = StepTimes()
    for step_s in (0.5, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01):
        times.learn(1, step_s)
    assert times.of(1) < 0.02
    times.learn(1, 0.5)
    assert times.of(1) < 0.07, "once slow is not slow"


def test_a_smaller_step_never_takes_longer():
    times = StepTimes()
    times.learn(1, 0.5)  # somebody else had the processor
    times.learn(3, 0.01)
    assert times.of(1) <= times.of(2) <= times.of(3) == pytest.approx(0.01)


@given(st.dictionaries(st.integers(1, 30), st.floats(1e-6, 1.0), min_size=1, max_size=8))
def test_more_tokens_never_take_less(measured):
    times = StepTimes()
    for num_tokens, step_s in measured.items():
        times.learn(num_tokens, step_s)
    read = [times.of(n) for n in range(1, 40)]
    assert all(a <= b * (1 + 1e-9) for a, b in itertools.pairwise(read))


def test_sizes_between_are_read_off_and_beyond_are_hoped_for():
    times = StepTimes()
    assert times.of(3) == 0.0
    times.learn(2, 0.01)
    assert times.of(2) == pytest.approx(0.01)
    assert times.of(1) < 0.01 < times.of(3) < 0.012
    times.learn(6, 0.03)
    assert times.of(4) == pytest.approx(0.02)


def test_a_chance_is_what_lately_came_true():
    chance = Chance()
    assert chance.value(0.7) == pytest.approx(0.7)
    for _ in range(30):
        chance.learn(4, 4)
    assert chance.value(0.7) > 0.95
    for _ in range(30):
        chance.learn(4, 0)
    assert chance.value(0.7) < 0.3
    before = chance.value(0.7)
    chance.learn(0, 0)
    assert chance.value(0.7) == before
