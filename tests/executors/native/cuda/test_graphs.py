"""Shapes and padding of captured steps, everywhere; capturing and replaying, where there is an NVIDIA card."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from publican.core.executor import ExecutorInfo, Pages
from publican.executors.native.batch import Batch, make_batch
from publican.executors.native.cuda.graphs import bucket, pad, page_bucket
from publican.executors.native.cuda.inputs import BlockSizes, Inputs, blocks
from publican.executors.native.executor import NativeExecutor
from publican.executors.page_table import PageTables
from tests.executors.drive import Drive
from tests.executors.native.cpu.programs import make_program, q4
from tests.executors.native.cuda.on_cpu import backend_of

INFO = ExecutorInfo("native", "", 75, 200, 6, 128, 128, Pages(16, 40), 96)


class _Described:
    """An executor that only says what it is, for plans made by `Drive`."""

    info = INFO


def a_batch(lengths: dict[int, int], past: dict[int, int] | None = None) -> Batch:
    """So many tokens for each slot, after so many before."""
    tables, drive = PageTables(INFO), Drive(_Described())  # type: ignore[arg-type]
    if past:
        tables.apply(drive.plan({slot: [1] * count for slot, count in past.items()}))
    plan = drive.plan({slot: [1] * count for slot, count in lengths.items()})
    tables.apply(plan)
    return make_batch(plan, tables)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_bucket_is_the_next_size(num_sequences: int, most: int) -> None:
    size = bucket(num_sequences, most)
    assert size is None or num_sequences <= size <= most
    assert (size is None) == (num_sequences > min(most, 128))


def test_page_buckets() -> None:
    assert [page_bucket(n, 1000) for n in (1, 16, 17, 64, 65, 257)] == [16, 16, 64, 64, 256, 1000]
    assert page_bucket(3, 5) == 5


def test_padding_writes_to_the_spare_page_only() -> None:
    batch = a_batch({0: 1, 3: 1}, {0: 40, 3: 7})
    padded = pad(batch, (4, 16), (99, 77))
    assert padded.pages.shape == (4, 16)
    np.testing.assert_array_equal(padded.pages[:2, :3], batch.pages)
    assert (padded.pages[2:] == 99).all()
    assert padded.positions.tolist() == [40, 7, 0, 0]
    assert padded.logit_rows.tolist() == padded.owners.tolist() == [0, 1, 2, 3]
    assert padded.past.tolist() == [40, 7, 0, 0]


def test_both_tables_are_padded_each_with_its_own_spare_page() -> None:
    batch = with_windows(a_batch({0: 1, 3: 1}, {0: 40, 3: 7}), 50)
    padded = pad(batch, (4, 16), (99, 77))
    assert padded.windowed_pages is not None
    np.testing.assert_array_equal(padded.windowed_pages[:2, :3], batch.windowed_pages)
    assert (padded.windowed_pages[2:] == 77).all()
    assert (padded.windowed_pages[:2, 3:] == 77).all()
    assert (padded.pages[2:] == 99).all()


def test_both_tables_lie_at_the_same_places() -> None:
    inputs = Inputs([torch.device("cpu")], (128, 6, 16), BlockSizes(5, 21), has_windows=True)
    batches = a_batch({0: 1, 3: 1}, {0: 40, 3: 7}), a_batch({1: 1, 2: 1, 4: 1}, {1: 3, 2: 90, 4: 1})
    padded = [pad(with_windows(batch, 50 + i), (4, 16), (99, 77)) for i, batch in enumerate(batches)]
    sent = [inputs.send(each)[0] for each in padded]
    for is_windowed in (False, True):
        one, other = (each.table(is_windowed) for each in sent)
        assert one.data_ptr() == other.data_ptr()
    assert sent[0].adapters.data_ptr() == sent[1].adapters.data_ptr()
    np.testing.assert_array_equal(sent[0].table(False), padded[1].pages)  # the memory is the same
    np.testing.assert_array_equal(sent[0].table(True), padded[1].windowed_pages)


def test_there_is_memory_for_the_largest_batch() -> None:
    batch = a_batch(dict.fromkeys(range(6), 1))
    batch = with_windows(dataclasses.replace(batch, pages=np.zeros((6, 500), np.int32)), 1)
    limits = 6, 6, 500
    sent = Inputs([torch.device("cpu")], limits, BlockSizes(1, 1), has_windows=True).send(batch)[0]
    np.testing.assert_array_equal(sent.adapters, np.zeros(6))
    np.testing.assert_array_equal(sent.table(True), batch.windowed_pages)


def with_windows(batch: Batch, page: int) -> Batch:
    return dataclasses.replace(batch, windowed_pages=np.full_like(batch.pages, page))


def test_batches_of_one_shape_lie_at_the_same_places() -> None:
    inputs = Inputs([torch.device("cpu")], (128, 6, 13), BlockSizes(5, 21))
    first = inputs.send(pad(a_batch({0: 1, 3: 1}, {0: 40, 3: 7}), (4, 16), (99, 77)))[0]
    places = [getattr(first, name).data_ptr() for name in ("tokens", "positions", "owners", "pages", "short", "logit_rows")]
    second = inputs.send(pad(a_batch({1: 1, 2: 1, 4: 1}, {1: 3, 2: 90, 4: 1}), (4, 16), (99, 77)))[0]
    assert places == [
        getattr(second, name).data_ptr() for name in ("tokens", "positions", "owners", "pages", "short", "logit_rows")
    ]
    assert first.positions.tolist() == [3, 90, 1, 0]  # the memory is the same
    assert second.short.tolist() == [[0, 0, 1], [1, 1, 1], [2, 2, 1], [3, 3, 1]]


def test_blocks_cover_every_row_once() -> None:
    batch = a_batch({0: 1, 1: 50, 2: 17})
    long = blocks(batch, batch.lengths > 16, 21)
    assert long.tolist() == [[1, 1, 21], [1, 22, 21], [1, 43, 8], [2, 51, 17]]
    assert blocks(batch, batch.lengths > 99, 21).shape == (0, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA card")
def test_replayed_steps_are_what_computed_ones_are() -> None:
    program = make_program(q4)
    drives = []
    for graphs in (False, True):
        backend = backend_of(program, INFO, kernels="triton", graphs=graphs)
        drives.append(Drive(NativeExecutor(INFO, backend)))
    for step in range(6):
        plans = {0: [step], 3: [7]} if step < 4 else {0: [step], 1: [2], 3: [7]}
        one, other = ({slot: logits.copy() for slot, logits in drive.step(plans).items()} for drive in drives)
        for slot in plans:
            np.testing.assert_allclose(one[slot], other[slot], rtol=0, atol=1e-5)
