import copy
import json

import pytest

from publican.bench.compare import compare_table
from publican.bench.serve_report import serve_body
from publican.core.errors import SettingsError
from tests.bench.shown import row, shown
from tests.bench.test_serve import run


@pytest.fixture
def body() -> dict:
    return json.loads(json.dumps(serve_body(run(workloads=("single",))[0])))


def test_the_second_is_so_many_times_better(body):
    before, after = body, copy.deepcopy(body)
    before["summaries"][0] |= {"output_per_s": 40.0, "itl_s": {"p50": 0.03, "p99": 0.04}, "goodput": 0.0}
    after["summaries"][0] |= {"output_per_s": 100.0, "itl_s": {"p50": 0.01, "p99": 0.08}, "ttft_s": None}
    table = compare_table(before, after)
    assert row(table, "output") == ["single", "output (tok/s)", "40.0", "100.0", "2.50×"]
    assert row(table, "ITL p50")[-3:] == ["30.0", "10.0", "3.00×"]
    assert row(table, "ITL p99")[-1] == "0.50×"
    assert row(table, "good")[-1] == "–"
    assert "TTFT" not in shown(table)


def test_what_only_one_measured_is_left_out(body):
    other = json.loads(json.dumps(serve_body(run(workloads=("swipe",))[0])))
    assert "ITL" not in shown(compare_table(body, other))


def test_two_kinds_cannot_be_compared(body):
    with pytest.raises(SettingsError, match="bench engine"):
        compare_table(body, body | {"kind": "publican bench engine"})
