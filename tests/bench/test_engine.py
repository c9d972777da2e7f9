import json

import pytest

from publican.bench.compare import compare_table
from publican.bench.engine import EngineConfig, bench_engine
from publican.bench.engine_report import engine_body, engine_tables
from publican.core.errors import SettingsError
from publican.core.executor import Cells, Pages
from publican.core.sampling import SamplingParams
from publican.executors.fake import FakeExecutor, fake_info
from tests.bench.shown import row, shown

SMALL = EngineConfig(batch_sizes=(1, 4), context_len=40, prompt_len=60, num_steps=6, num_repeats=2, newcomer_len=200)


class Factory:
    """Makes fakes, and remembers them."""

    def __init__(self, memory=None, **fake):
        self.info = fake_info(memory or Pages(16, 200), num_slots=16, context_len=400, max_batch_tokens=64, max_logits=16)
        self.fake = fake
        self.made = []

    def __call__(self):
        assert all(executor.closed for executor in self.made), "two at once"
        self.made.append(FakeExecutor(self.info, **self.fake))
        return self.made[-1]


@pytest.mark.parametrize("memory", [Pages(16, 200), Cells(3_200), Cells(3_200, can_rewind=False)], ids=str)
def test_everything_is_measured(memory):
    factory, told = Factory(memory, step_s=0.002), []
    report = bench_engine(factory, SMALL, told.append)
    assert [times.batch_size for times in report.decode] == [1, 4]
    for times in report.decode:
        assert times.alone_s.p50 >= 0.002
        assert times.step_s.p50 >= times.execute_s >= 0.002
        assert times.added_s == pytest.approx(times.plan_s + times.sample_s + times.commit_s + times.emit_s)
        assert times.overhead == pytest.approx(times.added_s / times.execute_s)
    assert report.prompt.alone_s >= 0.002
    assert report.newcomer.num_running == 4
    assert report.newcomer.during_s.p50 >= 0.002
    assert report.newcomer.chunk_tokens > 1
    assert not report.left_out
    assert len(factory.made) == 2
    assert all(executor.closed for executor in factory.made)
    assert "executor alone, batch 4" in told


def test_what_does_not_fit_is_left_out_and_told():
    report = bench_engine(Factory(Pages(16, 24)), SMALL)
    assert [times.batch_size for times in report.decode] == [1, 4]
    assert report.newcomer is None
    assert "newcomer" in report.left_out[0]
    report = bench_engine(
        Factory(), EngineConfig(batch_sizes=(2, 32), num_steps=4, context_len=40, prompt_len=40, newcomer_len=0)
    )
    assert [times.batch_size for times in report.decode] == [2]
    assert report.left_out == ("batch 32: there is room for 16",)


def test_no_room_at_all_is_refused_and_closed():
    factory = Factory()
    with pytest.raises(SettingsError, match="400 tokens has no room for"):
        bench_engine(factory, EngineConfig(batch_sizes=(1,)))
    with pytest.raises(SettingsError, match="no room for one"):
        bench_engine(Factory(Pages(16, 3)), SMALL)
    assert factory.made[0].closed


def test_the_executor_is_closed_when_something_breaks():
    factory = Factory()

    def stop(text: str) -> None:
        if text.startswith("engine, prompts"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench_engine(factory, SMALL, stop)
    assert all(executor.closed for executor in factory.made)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_sizes": ()},
        {"batch_sizes": (1, 0)},
        {"batch_sizes": (9_999,)},
        {"context_len": 0},
        {"num_steps": 1},
        {"num_steps": 501},
        {"num_repeats": 0},
        {"newcomer_len": -1},
        {"sampling": SamplingParams()},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(SettingsError):
        EngineConfig(**wrong)


def test_tables_and_json_and_two_runs():
    report = bench_engine(Factory(step_s=0.002), SMALL)
    decode, prompt, newcomer = engine_tables(report)
    assert [line.split("│")[1].strip() for line in shown(decode).splitlines() if "%" in line and "│" in line][-1] == "4"
    assert "prompts of 60 tokens" in shown(prompt)
    assert "while 4 answers are running" in shown(newcomer)
    body = json.loads(json.dumps(engine_body(report)))
    after = json.loads(json.dumps(body))
    after["decode"][1]["alone_s"]["p50"] /= 2
    table = compare_table(body, after)
    assert row(table, "batch 4", "alone")[-1] == "2.00×"
    assert row(table, "prompt of 60", "again")[-1] == "1.00×"
