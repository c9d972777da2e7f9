"""The journal: whatever its end was torn into, what it says of the pieces before is true."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.store.transfer.journal import Journal, Recorded
from publican.store.transfer.pieces import Layout

LAYOUT = Layout(10 << 20)
PRINT = bytes(range(32))
RECORDS = st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(0, 0xFFFF_FFFF))), max_size=30)


def written(path: Path, records: list[tuple[int, int] | None]) -> None:
    with path.open("w+b") as file:
        journal = Journal.create(file, LAYOUT, PRINT)
        for record in records:
            journal.record([record]) if record else journal.barrier()


def resumed(path: Path, layout: Layout = LAYOUT, fingerprint: bytes = PRINT) -> Recorded | None:
    with path.open("r+b") as file:
        found = Journal.resume(file, layout, fingerprint)
        return found[1] if found else None


def expected(records: list[tuple[int, int] | None]) -> Recorded:
    crcs: dict[int, int] = {}
    unsure: set[int] = set()
    for record in records:
        if record is None:
            unsure.clear()
        else:
            crcs[record[0]] = record[1]
            unsure.add(record[0])
    return Recorded(crcs, frozenset(unsure))


@given(RECORDS, st.integers(0, 500), st.binary(max_size=20))
def test_a_torn_end_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, int] | None], cut: int, tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "journal"
    written(path, records)
    whole = path.read_bytes()
    assert resumed(path) == expected(records)
    num_left = max(0, len(whole) - cut)
    path.write_bytes(whole[:num_left] + tail)
    found = resumed(path)
    header = len(whole) - 12 * len(records)
    if (whole[:num_left] + tail)[:header] != whole[:header]:
        assert found is None
        return
    kept = max(0, num_left - header) // 12
    assert found is not None
    assert found in (expected(records[:kept]), expected(records[: kept + 1])), "of the tail nothing is believed"


def test_another_fetch_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, [(1, 2)])
    assert resumed(path, fingerprint=bytes(32)) is None
    assert resumed(path, layout=Layout((10 << 20) + 1)) is None
    assert resumed(path, layout=Layout(10 << 20, 1 << 19)) is None
    path.write_bytes(b"")
    assert resumed(path) is None


def test_pieces_that_the_file_does_not_have_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, [(9, 1), (10, 1), (0xFFFF_FFFE, 1)])
    assert resumed(path) == Recorded({9: 1}, frozenset({9}))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert Journal.resume(io.BytesIO(data), LAYOUT, PRINT) is None
