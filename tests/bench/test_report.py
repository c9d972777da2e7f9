import copy
import json

import pytest
from rich.console import Console

from publican.bench.report import compare_table, error_lines, read_json, serve_json, serve_table, write_json
from publican.core.errors import SettingsError
from tests.bench.server import Behaviour
from tests.bench.test_serve import run


def shown(table) -> str:
    console = Console(width=250, record=True, file=None, quiet=False, stderr=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_table_has_a_line_for_each_workload():
    report, _ = run()
    text = shown(serve_table(report))
    assert all(name in text for name in ("single", "crowd", "tavern", "swipe", "TTFT", "ITL", "good"))
    assert "failed" not in text
    assert "~" not in text


def test_a_table_shows_what_failed_and_what_was_guessed():
    behaviour = Behaviour(fails=lambda body, number: "429" if number == 3 else None, says_usage=False)
    report, _ = run(behaviour, workloads=("single",))
    assert "(1 failed)" in shown(serve_table(report))
    assert "~" in shown(serve_table(report))
    assert error_lines(report) == ["single: 1 × 429: too many"]


def test_what_is_written_is_read_and_has_no_key(tmp_path):
    report, _ = run(key="secret", workloads=("swipe",))
    path = tmp_path / "report.json"
    write_json(path, serve_json(report))
    assert "secret" not in path.read_text()
    body = read_json(path)
    assert body["seed"] == 1
    assert body["summaries"][0]["workload"] == "swipe"
    assert len(body["records"]["swipe"]) == 5


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "publican bench serve", "format": 99}', "\x00"])
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read_json(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_json(tmp_path / "none.json")


def test_two_runs_are_compared_by_how_much_better_the_second_is():
    before = json.loads(json.dumps(serve_json(run(workloads=("single",))[0])))
    after = copy.deepcopy(before)
    before["summaries"][0] |= {"output_per_s": 40.0, "itl_s": {"p50": 0.03, "p99": 0.04}, "goodput": 0.0}
    after["summaries"][0] |= {"output_per_s": 100.0, "itl_s": {"p50": 0.01, "p99": 0.08}, "ttft_s": None}
    lines = shown(compare_table(before, after)).splitlines()
    assert better("output", lines) == "2.50×"
    assert better("ITL p50", lines) == "3.00×"
    assert better("ITL p99", lines) == "0.50×"
    assert better("good", lines) == "–"
    assert not [line for line in lines if "TTFT" in line]


def better(name: str, lines: list[str]) -> str:
    (line,) = [line for line in lines if f"{name} (" in line]
    return line.split("│")[-2].strip()


def test_workloads_that_only_one_has_are_left_out():
    first, second = (serve_json(run(workloads=names)[0]) for names in (("single",), ("swipe",)))
    assert "ITL" not in shown(compare_table(first, second))
    with pytest.raises(SettingsError):
        compare_table(first, first | {"kind": "publican bench engine"})
