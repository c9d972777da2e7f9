"""The whole of it against a small server of our own."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from publican.bench.client import Asking
from publican.bench.serve import ServeConfig, ServeReport, bench_serve
from publican.bench.workloads import NAMES, Sizes
from publican.core.errors import PublicanError, SettingsError
from tests.bench.server import Behaviour, FakeServer
from tests.stranger import stranger

SIZES = Sizes(num_users=4, num_turns=2, num_singles=3, num_swipes=5, prompt_tokens=60)


def run(behaviour: Behaviour | None = None, progress=None, **changes) -> tuple[ServeReport, FakeServer]:
    asking = {name: changes.pop(name) for name in list(changes) if name in Asking.__dataclass_fields__}

    async def main() -> tuple[ServeReport, FakeServer]:
        async with FakeServer(behaviour or Behaviour()) as server:
            config = ServeConfig(Asking(server.url, **({"max_tokens": 6} | asking)), **({"sizes": SIZES, "seed": 1} | changes))
            return await bench_serve(config, progress), server

    return asyncio.run(main())


def test_every_workload_is_run_and_counted():
    report, server = run()
    assert [summary.workload for summary in report.summaries] == list(NAMES)
    assert [summary.num_requests for summary in report.summaries] == [3, 8, 8, 5]
    assert len(server.asked) == 2 + 3 + 8 + 8 + 6  # warm-up, and the swipe that does not count
    assert all(not summary.errors and summary.counted for summary in report.summaries)
    assert all(summary.num_output_tokens == 6 * summary.num_requests for summary in report.summaries)
    assert report.model == "fake"
    assert server.most_at_once == 4


def test_one_at_a_time_is_one_at_a_time():
    _, server = run(workloads=("single", "swipe"), num_warmups=0)
    assert server.most_at_once == 1


def test_times_are_what_they_were():
    report, _ = run(Behaviour(prompt_s=0.1, token_s=0.02), workloads=("single",))
    (summary,) = report.summaries
    assert 0.12 <= summary.ttft_s.p50 < summary.request_s.p50 < summary.wall_s
    assert 0.1 <= summary.ttfr_s.p50 <= summary.ttft_s.p50
    assert summary.itl_s.p50 >= 0.015
    assert summary.tpot_s.p50 >= 0.015
    assert summary.prefill_per_s == pytest.approx(300 / sum(r.first_content_s for r in report.records["single"]))


def test_a_turn_holds_the_turns_before_it():
    _, server = run(workloads=("crowd",), num_warmups=0)
    prompts = [body["prompt"] for _, _, body in server.asked]
    firsts = [prompt for prompt in prompts if "word0" not in prompt]
    assert len(firsts) == 4
    for first in firsts:
        (second,) = [prompt for prompt in prompts if prompt.startswith(first) and prompt != first]
        assert second.startswith(first + " word0 word1 word2 word3 word4 word5\nUser: ")


def test_a_swipe_is_one_prompt_with_other_seeds():
    _, server = run(workloads=("swipe",), num_warmups=0)
    assert len({body["prompt"] for _, _, body in server.asked}) == 1
    assert len({body["seed"] for _, _, body in server.asked}) == 6


def test_chats_are_messages():
    _, server = run(workloads=("tavern",), num_warmups=0, api="chat", key="secret", model="mine")
    path, headers, body = server.asked[-1]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer secret"
    assert body["model"] == "mine"
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["stream_options"] == {"include_usage": True}
    assert len({body["messages"][0]["content"].split("\n")[0] for _, _, body in server.asked}) == 1


def test_ignore_eos_can_be_left_out():
    _, server = run(workloads=("swipe",), ignore_eos=False, temperature=0.0)
    assert all("ignore_eos" not in body and body["temperature"] == 0.0 for _, _, body in server.asked)


def test_the_cache_is_told():
    report, _ = run(Behaviour(cached=90), workloads=("swipe",))
    assert report.summaries[0].cached == pytest.approx(0.9)


def test_a_server_that_does_not_count_is_counted_by_its_events():
    report, _ = run(Behaviour(says_usage=False), workloads=("single",))
    assert report.summaries[0].num_output_tokens == 18
    assert not report.summaries[0].counted


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("429", "429: too many"), ("event", "the model fell over"), ("cut", "the connection failed"), ("noise", "not JSON")],
)
def test_what_fails_is_counted_by_what_it_said(trouble, said):
    behaviour = Behaviour(fails=lambda body, number: trouble if number % 2 else None)
    report, _ = run(behaviour, workloads=("single", "crowd"), num_warmups=0)
    for summary in report.summaries:
        (text,) = summary.errors
        assert said in text
        assert summary.errors[text] == summary.num_requests // 2
        assert summary.num_output_tokens == 6 * (summary.num_requests - summary.errors[text])


def test_silence_is_an_error():
    report, _ = run(Behaviour(token_s=5), workloads=("single",), sizes=Sizes(num_singles=1), num_warmups=0, timeout_s=0.1)
    assert report.summaries[0].errors == {"said nothing for 0.1 s": 1}


def test_a_server_that_refuses_everything_is_told_at_once():
    with pytest.raises(PublicanError, match="answers nothing: 429: too many"):
        run(Behaviour(fails=lambda body, number: "429"))


def test_no_server_and_no_model_are_told():
    with pytest.raises(PublicanError, match=r"No server answers at http://127\.0\.0\.1:9"):
        asyncio.run(bench_serve(ServeConfig(Asking("http://127.0.0.1:9/v1"))))
    with pytest.raises(PublicanError, match="has no model"):
        run(Behaviour(models=()))


def test_progress_is_told():
    seen = []
    run(progress=lambda *args: seen.append(args), workloads=("swipe",))
    assert seen == [("swipe", i, 6) for i in range(1, 7)]


def test_without_a_seed_every_run_has_its_own_words():
    first, _ = run(workloads=("swipe",), seed=None)
    second, _ = run(workloads=("swipe",), seed=None)
    assert first.seed != second.seed


@pytest.mark.parametrize(
    "wrong",
    [
        {"workloads": ("stampede",)},
        {"sizes": Sizes(num_users=0)},
        {"sizes": Sizes(num_users=1_001)},
        {"sizes": Sizes(num_users=1_000, num_turns=100)},
        {"sizes": Sizes(prompt_tokens=-5)},
    ],
)
def test_too_much_or_nonsense_is_refused_before_anything_is_sent(wrong):
    with pytest.raises(SettingsError):
        ServeConfig(Asking("http://127.0.0.1:9"), **wrong)


def test_a_record_is_plain_data():
    report, _ = run(workloads=("single",))
    assert json.loads(json.dumps([dataclasses.asdict(r) for r in report.records["single"]]))


@pytest.mark.parametrize(
    "asking",
    [Asking("u", max_tokens=0), Asking("u", temperature=-1.0), Asking("u", temperature=float("nan"))],
    ids=["no tokens", "below zero", "nan"],
)
def test_what_no_server_would_take_is_refused_before_it_is_asked(asking):
    with pytest.raises(SettingsError, match="must be"):
        ServeConfig(asking)


@pytest.mark.parametrize("url", ["http://[::1", "http://localhost:port", "http://" + "a" * 300 + "..b"])
def test_no_address_is_said(url):
    with pytest.raises(PublicanError):
        asyncio.run(bench_serve(ServeConfig(Asking(url))))


@pytest.mark.parametrize("body", [b"hello", b"[]", b"5", b'{"data": 5}', b'{"data": [{}]}', b'{"data": [5]}', b"\xff\xfe"])
def test_a_server_of_another_kind_is_said(body):
    with stranger(body) as url, pytest.raises(PublicanError, match="does not list models"):
        asyncio.run(bench_serve(ServeConfig(Asking(url))))


@pytest.mark.parametrize(
    "chunk", ['{"choices": 5}', '{"choices": [5]}', '{"choices": [{"delta": 5}]}', "5", "[1]", "{", "null"]
)
def test_events_of_another_kind_are_counted_as_failures(chunk):
    body = f"data: {chunk}\n\n".encode()
    with stranger(body) as url, pytest.raises(PublicanError, match="answers nothing"):
        asyncio.run(bench_serve(ServeConfig(Asking(url, model="m"), sizes=SIZES)))
