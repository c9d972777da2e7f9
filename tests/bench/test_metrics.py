import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.bench.metrics import Goals, Spread, meets, quantile, summarise
from publican.bench.timeline import Record


def record(**changes) -> Record:
    usual = {
        "user": 0,
        "turn": 0,
        "sent_s": 0.0,
        "end_s": 2.0,
        "first_event_s": 0.4,
        "first_content_s": 0.5,
        "content_end_s": 1.5,
        "gaps_s": (0.25,) * 4,
        "num_prompt_tokens": 100,
        "num_output_tokens": 11,
        "counted": True,
    }
    return Record(**(usual | changes))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles_are_numpys(values, q):
    assert quantile(sorted(values), q) == pytest.approx(float(np.quantile(values, q)), abs=1e-6, rel=1e-9)


def test_a_spread_of_nothing_is_none():
    assert Spread.of([]) is None
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0)


def test_a_summary_adds_up():
    records = [record(), record(sent_s=1.0, end_s=3.0, first_content_s=1.5, content_end_s=2.5, num_cached_tokens=50)]
    summary = summarise("crowd", records, Goals(ttft_s=1.0, tpot_s=0.2))
    assert summary.num_requests == 2
    assert summary.wall_s == 4.0
    assert summary.num_output_tokens == 22
    assert summary.output_per_s == 22 / 4
    assert summary.ttft_s.p50 == 1.0
    assert summary.itl_s.max == 0.25
    assert summary.tpot_s.p99 == pytest.approx(0.1)
    assert summary.prefill_per_s == pytest.approx((100 + 50) / 2.0)
    assert summary.cached == 0.5
    assert (summary.goodput, summary.goodput_per_s) == (0.5, 0.25)
    assert summary.counted


def test_what_failed_is_counted_and_measures_nothing():
    records = [record(), record(error="429: too many", num_output_tokens=7), record(error="429: too many")]
    summary = summarise("crowd", records, Goals(tpot_s=1.0))
    assert summary.errors == {"429: too many": 2}
    assert summary.num_requests == 3
    assert summary.num_output_tokens == 11
    assert summary.goodput == pytest.approx(1 / 3)


def test_everything_failed():
    summary = summarise("crowd", [record(error="no", first_content_s=None)], Goals())
    assert summary.ttft_s is summary.itl_s is summary.cached is summary.prefill_per_s is None
    assert (summary.output_per_s, summary.goodput) == (0.0, 0.0)


def test_nothing_was_asked():
    assert summarise("crowd", [], Goals()).num_requests == 0


def test_goals():
    goals = Goals(ttft_s=0.5, tpot_s=0.1)
    assert meets(record(), goals)
    assert not meets(record(first_content_s=0.51), goals)
    assert not meets(record(content_end_s=1.6), goals)
    assert not meets(record(error="x"), goals)
    assert not meets(record(first_content_s=None), goals)
    assert meets(record(num_output_tokens=1), goals)


def test_tokens_that_were_guessed_are_marked():
    assert not summarise("crowd", [record(), record(counted=False)], Goals()).counted
