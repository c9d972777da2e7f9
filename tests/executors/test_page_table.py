"""Page tables against a plain model of the same memory: what it accepts makes sense, and what it refuses changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import PlanError
from publican.core.executor import ExecutorInfo, Pages
from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import CopyPage, Extend, Free, Row, Share, StepPlan, Truncate
from publican.executors.page_table import PageTables

INFO = ExecutorInfo("fake", "", 100, context_len=24, num_slots=3, max_batch_tokens=16, max_logits=4, memory=Pages(4, 8))


def row(slot: int, start: int, length: int, num_logits: int = 0, token: int = 1) -> Row:
    return Row(SlotId(slot), (TokenId(token),) * length, start, num_logits)


def extend(slot: int, *pages: int) -> Extend:
    return Extend(SlotId(slot), tuple(PageId(page) for page in pages))


def truncate(slot: int, num_tokens: int) -> Truncate:
    return Truncate(SlotId(slot), num_tokens)


def state(tables: PageTables) -> list[bytes]:
    return [array.tobytes() for array in (tables.table, tables.num_pages, tables._full._filled, tables._full._num_users)]


def test_a_prompt_in_chunks_then_a_token():
    tables = PageTables(INFO)
    tables.apply(StepPlan((row(0, 0, 6),), (extend(0, 7, 2),)))
    tables.apply(StepPlan((row(0, 6, 1, 1),)))
    assert tables.table[0, : tables.num_pages[0]].tolist() == [7, 2]


def test_a_shared_page_is_read_and_not_written():
    tables = PageTables(INFO)
    tables.apply(StepPlan((row(0, 0, 6),), (extend(0, 0, 1),)))
    tables.apply(StepPlan((row(1, 4, 2),), (extend(1, 0, 2),)))
    with pytest.raises(PlanError, match="writes to a page that others read"):
        tables.apply(StepPlan((row(1, 3, 2),)))
    tables.apply(StepPlan((), (Free(SlotId(1)),)))
    tables.apply(StepPlan((row(0, 3, 2),)))


def test_a_copy_takes_what_was_written_and_goes_only_to_a_free_page():
    tables = PageTables(INFO)
    tables.apply(StepPlan((row(0, 0, 3),), (extend(0, 0),)))
    assert tables.apply(StepPlan((row(1, 3, 1),), (CopyPage(PageId(0), PageId(5)), extend(1, 5)))) == [(0, 5, False)]
    with pytest.raises(PlanError, match="overwrites a page in use"):
        tables.apply(StepPlan((), (CopyPage(PageId(0), PageId(5)),)))


def test_what_was_truncated_must_be_written_again():
    tables = PageTables(INFO)
    tables.apply(StepPlan((row(0, 0, 8),), (extend(0, 0, 1),)))
    tables.apply(StepPlan((), (truncate(0, 5),)))
    with pytest.raises(PlanError, match="reads what was not written"):
        tables.apply(StepPlan((row(0, 7, 1),)))
    tables.apply(StepPlan((row(0, 5, 1),)))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (StepPlan((row(0, 0, 1),)), "beyond its pages"),
        (StepPlan((row(0, 0, 5),), (extend(0, 0),)), "beyond its pages"),
        (StepPlan((row(0, 1, 1),), (extend(0, 0),)), "not written"),
        (StepPlan((row(3, 0, 1),)), "slot 3 is out of range"),
        (StepPlan((row(-1, 0, 1),)), "slot -1 is out of range"),
        (StepPlan((row(0, 0, 1, token=100),), (extend(0, 0),)), "token out of range"),
        (StepPlan((row(0, 0, 1, token=-1),), (extend(0, 0),)), "token out of range"),
        (StepPlan((row(0, 0, 0),), (extend(0, 0),)), "no tokens"),
        (StepPlan((row(0, -1, 1),), (extend(0, 0),)), "beyond its pages"),
        (StepPlan((row(0, 0, 2, num_logits=3),), (extend(0, 0),)), "wants rows it has not"),
        (StepPlan((Row(SlotId(0), (TokenId(1),), 0, 0, 1),), (extend(0, 0),)), "hidden states"),
        (StepPlan((row(0, 0, 1), row(0, 1, 1)), (extend(0, 0),)), "two rows"),
        (StepPlan((row(0, 0, 17),), (extend(0, 0, 1, 2, 3, 4),)), "17 tokens, 16 allowed"),
        (StepPlan((row(0, 0, 5, num_logits=5),), (extend(0, 0, 1),)), "5 rows of logits, 4 allowed"),
        (StepPlan((), (extend(0, 8),)), "page out of range"),
        (StepPlan((), (extend(0, 0, 1, 2, 3, 4, 5, 6),)), "longer than the context"),
        (StepPlan((), (CopyPage(PageId(0), PageId(0)),)), "page out of range"),
        (StepPlan((), (truncate(0, -1),)), "negative"),
        (StepPlan((), (Share(SlotId(0), SlotId(1), 1),)), "not for paged memory"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_and_changes_nothing(plan: StepPlan, says: str):
    tables = PageTables(INFO)
    before = state(tables)
    with pytest.raises(PlanError, match=says):
        tables.apply(StepPlan(plan.rows, (extend(1, 7), *plan.ops)))
    assert state(tables) == before


SLOTS, PAGES = st.integers(-1, 3), st.integers(-1, 8)
OPS = st.one_of(
    st.builds(extend, SLOTS, PAGES),
    st.builds(extend, SLOTS, PAGES, PAGES),
    st.builds(lambda a, b: CopyPage(PageId(a), PageId(b)), PAGES, PAGES),
    st.builds(truncate, SLOTS, st.integers(-1, 25)),
    st.builds(lambda slot: Free(SlotId(slot)), SLOTS),
)
ROWS = st.builds(row, SLOTS, st.integers(-1, 24), st.integers(0, 9), st.integers(-1, 3))
PLANS = st.builds(StepPlan, st.lists(ROWS, max_size=2).map(tuple), st.lists(OPS, max_size=3).map(tuple))


@given(plans=st.lists(PLANS, max_size=25))
@settings(deadline=None, max_examples=200)
def test_whatever_is_accepted_reads_only_what_was_written_for_it(plans: list[StepPlan]):
    """A twin keeps in each page who wrote each position; a row may read only what its slot, or its prefix's owner, wrote."""
    tables = PageTables(INFO)
    pages: list[list[int | None]] = [[None] * 4 for _ in range(8)]  # the position that was written there
    for plan in plans:
        before = state(tables)
        try:
            copies = tables.apply(plan)
        except PlanError:
            assert state(tables) == before
            continue
        for source, target, _ in copies:
            pages[target] = list(pages[source])
        own = [tables.table[slot, : tables.num_pages[slot]] for slot in range(3)]
        users = np.bincount(np.concatenate(own), minlength=8)
        assert users.tolist() == tables._full._num_users.tolist()
        for it in plan.rows:
            place = own[it.slot]
            assert all(pages[place[at // 4]][at % 4] is not None for at in range(it.start)), "reads what nobody wrote"
            for at in range(it.start, it.start + len(it.tokens)):
                assert users[place[at // 4]] == 1, "writes where others read"
                pages[place[at // 4]][at % 4] = at
