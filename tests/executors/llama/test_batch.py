import numpy as np
import pytest

from publican.core.errors import PlanError
from publican.core.executor import Cells, ExecutorInfo
from publican.core.step import Row, StepPlan
from publican.executors.llama.batch import Batch
from publican.executors.llama.library import load_library

INFO = ExecutorInfo("llama", "none", 100, 64, 4, 16, 8, Cells(64))


def read(batch: Batch) -> list[tuple[int, int, list[int], int]]:
    """What libllama reads: (token, position, sequences, wanted)."""
    struct = batch.struct
    return [
        (struct.token[i], struct.pos[i], [struct.seq_id[i][j] for j in range(struct.n_seq_id[i])], struct.logits[i])
        for i in range(struct.n_tokens)
    ]


def filled(*rows: Row, has_shadows: bool = False) -> list[tuple[int, int, list[int], int]]:
    batch = Batch(load_library(), INFO, has_shadows)
    batch.fill(StepPlan((Row(0, [99] * 16, 0, 8),)))  # something to be overwritten
    batch.fill(StepPlan(rows))
    return read(batch)


def test_one_token_each():
    assert filled(Row(2, [7], 5, 1), Row(0, [8], 30, 0)) == [(7, 5, [2], 1), (8, 30, [0], 0)]


def test_ragged_rows():
    assert filled(Row(3, [1, 2, 3], 10, 2), Row(1, [4], 0, 1), Row(0, (5, 6), 7, 0)) == [
        (1, 10, [3], 0),
        (2, 11, [3], 1),
        (3, 12, [3], 1),
        (4, 0, [1], 1),
        (5, 7, [0], 0),
        (6, 8, [0], 0),
    ]


def test_twins():
    assert filled(Row(3, [1], 10, 1), has_shadows=True) == [(1, 10, [3, 7], 1)]


def test_tokens_may_be_an_array():
    assert filled(Row(1, np.array([3, 4]), 0, 1)) == [(3, 0, [1], 0), (4, 1, [1], 1)]


@pytest.mark.parametrize("token", [-1, 100, 2**31, -(2**31) - 1, 2**80, "a", None])
def test_a_token_out_of_range_never_reaches_the_library(token):
    with pytest.raises(PlanError, match="out of range"):
        filled(Row(0, [1, token, 2], 0, 1))
