"""What is remembered of plans and of what came of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from publican.host.fit_records import Record, read_records, remember, worst
from publican.host.measured import Measured


def record(model: str, held: int = 110, loader: str = "native") -> Record:
    return Record(model, loader, 8_192, 1, (Measured("memory", 100, held),))


def test_the_newest_first_and_one_of_each(tmp_path: Path):
    for each in (record("a"), record("b", 90), record("a", 120), record("a", loader="llama")):
        remember(tmp_path, each)
    assert [(r.model, r.loader, r.measured[0].measured_bytes) for r in read_records(tmp_path)] == [
        ("a", "llama", 110),
        ("a", "native", 120),
        ("b", "native", 90),
    ]
    assert worst(read_records(tmp_path)) == pytest.approx(0.2)
    assert [path.name for path in tmp_path.iterdir()] == [".fit.json"]


def test_a_hundred_are_enough(tmp_path: Path):
    for i in range(105):
        remember(tmp_path, record(f"m{i}"))
    assert len(read_records(tmp_path)) == 100
    assert read_records(tmp_path)[0].model == "m104"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "[1]", '[{"model": 1}]', "null", "[" * 100_000, '[{"model": "m", "measured": 3}]', "9" * (2 << 20)),
        '[{"model": "m", "loader": "native", "num_tokens": Infinity, "when_s": 1, "measured": []}]',
    ],
)
def test_a_damaged_file_costs_the_records_and_no_more(tmp_path: Path, text: str):
    (tmp_path / ".fit.json").write_text(text)
    assert read_records(tmp_path) == ()
    remember(tmp_path, record("a"))
    assert [r.model for r in read_records(tmp_path)] == ["a"]


def test_nothing_measured_and_no_folder_are_nothing_remembered(tmp_path: Path):
    remember(tmp_path, Record("a", "native", 1, 1, ()))
    remember(tmp_path / "none", record("a"))
    assert list(tmp_path.iterdir()) == []
    assert worst(()) == 0
