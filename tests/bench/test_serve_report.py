from publican.bench.files import read_report, write_report
from publican.bench.serve_report import error_lines, serve_body, serve_table
from tests.bench.server import Behaviour
from tests.bench.shown import shown
from tests.bench.test_serve import run


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
    write_report(path, serve_body(report))
    assert "secret" not in path.read_text()
    body = read_report(path)
    assert body["seed"] == 1
    assert body["summaries"][0]["workload"] == "swipe"
    assert len(body["records"]["swipe"]) == 5
