"""The books: one line per request, and what Prometheus reads."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from publican.apis.metrics import Histogram
from publican.core.backend import Status
from publican.core.errors import Overloaded, WorkerDied
from publican.core.events import Delta, Started, TokenOutput
from publican.core.ids import TokenId
from tests.apis.fake_host import FOREVER, Pause, ScriptedHost, answer, failing
from tests.apis.running import app_of, ask, keyed, served, until
from tests.apis.test_respond import connection


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "publican.requests"]


@pytest.fixture
def books(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "publican.requests")
    return caplog


def test_one_line_per_request_without_a_word_of_it(books: pytest.LogCaptureFixture) -> None:
    app = app_of(ScriptedHost(), keyed)
    body = {"prompt": ["my secret", "another secret"], "n": 2, "user": "secret name"}
    ask(app, "POST", "/v1/completions", body, {"x-api-key": "friend"})
    (line,) = lines(books)
    assert line["dialect"] == "openai"
    assert line["path"] == "/v1/completions"
    assert (line["status"], line["user"], line["model"], line["prompts"]) == (200, "friend", "tiny", 2)
    assert (line["prompt_tokens"], line["cached"], line["completion_tokens"]) == (10, 6, 12)
    assert line["finish"] == "length"
    assert 0 < line["ttft_s"] <= line["total_s"]
    assert "secret" not in str(line)
    assert "Hello" not in str(line)


def test_every_ending_has_its_line(books: pytest.LogCaptureFixture) -> None:
    ask(app_of(ScriptedHost(refusal=Overloaded("Full.", 1))), "POST", "/v1/completions", {"prompt": "x", "stream": True})
    ask(app_of(ScriptedHost(failing(WorkerDied("Dead.")))), "POST", "/v1/completions", {"prompt": "x"})
    ask(app_of(ScriptedHost()), "POST", "/v1/completions", {"prompt": 5})
    ask(app_of(ScriptedHost(), keyed), "POST", "/v1/completions", {"prompt": "x"})
    assert [(line["status"], line["error"]) for line in lines(books)] == [
        (429, "Overloaded"),
        (503, "WorkerDied"),
        (400, "InvalidParameter"),
        (401, "Unauthenticated"),
    ]
    assert lines(books)[1]["finish"] == "failed"


def test_who_hung_up_is_in_the_books_with_what_was_made(books: pytest.LogCaptureFixture) -> None:
    tokens = [Delta(0, "a", (TokenOutput(TokenId(1)),))] * 3
    host = ScriptedHost(lambda request: [Started(5), *tokens, Pause(FOREVER)])
    app = app_of(host)
    with served(app) as address:
        with connection(f"http://{address}", "/v1/completions", {"prompt": "x", "stream": True}) as sock:
            until(lambda: host.requests)
            sock.recv(65_536)
        until(lambda: lines(books))
        metrics = ask(app, "GET", "/metrics").text
    (line,) = lines(books)
    assert (line["status"], line["finish"]) == (499, "gone")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (5, 3)
    assert 'publican_requests_total{dialect="openai",status="499"} 1.0' in metrics
    assert "publican_completion_tokens_total 3.0" in metrics


def test_a_caller_cannot_forge_a_line(books: pytest.LogCaptureFixture) -> None:
    host = ScriptedHost(cards=())
    ask(app_of(host), "POST", "/v1/completions", {"prompt": "x", "model": 'a b\n"status=500'})
    ask(app_of(host), "POST", "/v1/completions", {"prompt": "x", "model": "org/model-7B.Q4_1:tag"})
    assert [line["model"] for line in lines(books)] == ['"a b\\n\\"status=500"', "org/model-7B.Q4_1:tag"]


def test_polling_is_not_worth_a_line(books: pytest.LogCaptureFixture) -> None:
    ask(app_of(ScriptedHost()), "GET", "/health")
    assert lines(books) == []


def test_metrics() -> None:
    host = ScriptedHost(lambda request: answer(request, ["a", "b", "c"], pause_s=0.011))
    app = app_of(host)
    ask(app, "POST", "/v1/completions", {"prompt": "x"})
    ask(app, "POST", "/api/v1/generate", {"prompt": "x"})
    ask(app, "POST", "/v1/completions", {"prompt": 5})
    scrape = ask(app, "GET", "/metrics")
    assert scrape.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(scrape.text)
        for sample in family.samples
    }
    assert samples["publican_requests_total", "200", "openai"] == 1
    assert samples["publican_requests_total", "200", "ooba"] == 1
    assert samples["publican_requests_total", "400", "openai"] == 1
    assert samples["publican_errors_total", "InvalidParameter", "openai"] == 1
    assert (samples["publican_requests_running",], samples["publican_requests_waiting",]) == (2, 3)
    assert samples["publican_kv_cache_used_ratio",] == 0.25
    assert (samples["publican_tokens_guessed_total",], samples["publican_tokens_guessed_true_total",]) == (20, 15)
    assert samples["publican_preemptions_total",] == 7
    assert samples["publican_prompt_tokens_total",] == 10
    assert samples["publican_prompt_tokens_cached_total",] == 6
    assert samples["publican_prefix_hit_ratio",] == 0.6
    assert samples["publican_completion_tokens_total",] == 6
    assert samples["publican_time_to_first_token_seconds_count",] == 2
    assert samples["publican_inter_token_seconds_count",] == 4
    assert samples["publican_inter_token_seconds_sum",] >= 4 * 0.01


def test_two_servers_in_one_process_do_not_mix_their_numbers() -> None:
    one, two = app_of(ScriptedHost()), app_of(ScriptedHost())
    ask(one, "POST", "/v1/completions", {"prompt": "x"})
    assert "publican_completion_tokens_total 3.0" in ask(one, "GET", "/metrics").text
    assert "publican_completion_tokens_total 0.0" in ask(two, "GET", "/metrics").text


def test_a_histogram_counts_by_upper_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    samples = {
        sample.labels.get("le"): sample.value for sample in histogram.family("x", "x").samples if "bucket" in sample.name
    }
    assert samples == {"0.1": 2, "1.0": 3, "+Inf": 4}
    assert math.isclose(histogram.family("x", "x").samples[-1].value, 7.65)


def test_health() -> None:
    host = ScriptedHost()
    assert ask(app_of(host), "GET", "/health").json()["status"] == "ok"
    host.current = Status(False, "the model is being started again")
    sick = ask(app_of(host), "GET", "/health")
    assert (sick.status_code, sick.json()["status"]) == (503, "error")
