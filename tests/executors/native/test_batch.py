"""A plan as arrays, and the page tables that it reads."""

from __future__ import annotations

import numpy as np

from publican.core.executor import ExecutorInfo, Pages
from publican.core.ids import PageId, SlotId
from publican.core.step import Extend, Row, StepPlan
from publican.executors.native.batch import make_batch
from publican.executors.page_table import PageTables

INFO = ExecutorInfo("native", "", 100, 32, 4, 64, 64, Pages(4, 32), hidden_size=8)


def test_tokens_positions_and_pages_of_ragged_rows() -> None:
    tables = PageTables(INFO)
    slots = [SlotId(i) for i in range(4)]
    first = StepPlan(
        (Row(slots[2], [1, 2, 3, 4, 5], 0, 0), Row(slots[0], [6], 0, 1)),
        (Extend(slots[2], (PageId(9), PageId(7), PageId(5))), Extend(slots[0], (PageId(3),))),
    )
    tables.apply(first)
    plan = StepPlan((Row(slots[0], [7, 8], 1, 1, 2), Row(slots[2], [9, 10, 11, 12], 5, 3)))
    tables.apply(plan)
    batch = make_batch(plan, tables)
    expected = {
        "tokens": [7, 8, 9, 10, 11, 12],
        "positions": [1, 2, 5, 6, 7, 8],
        "owners": [0, 0, 1, 1, 1, 1],
        "starts": [0, 2],
        "lengths": [2, 4],
        "past": [1, 5],
        "logit_rows": [1, 3, 4, 5],
        "hidden_rows": [0, 1],
    }
    for name, values in expected.items():
        array = getattr(batch, name)
        assert array.dtype == np.int32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, values)
    assert batch.pages.shape == (2, 3)
    assert batch.pages.flags.c_contiguous
    np.testing.assert_array_equal(batch.pages[1], [9, 7, 5])
    assert batch.pages[0, 0] == 3
