"""What KoboldCpp's own page does beside generating: polling, stopping by name, placeholders, looking at probabilities.

The page is one of HTML and cannot be run here; these are the calls that it makes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.apis.running import in_background
from tests.cli.running import Running


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


def text_of(http: httpx.Client, genkey: str) -> str:
    text: str = http.post("/api/extra/generate/check", json={"genkey": genkey}).json()["results"][0]["text"]
    return text


def until_said(http: httpx.Client, genkey: str, num_chars: int) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if len(said := text_of(http, genkey)) >= num_chars:
            return said
        time.sleep(0.02)
    raise AssertionError("nothing was said")


def test_an_answer_is_polled_and_stopped_by_its_name(http: httpx.Client) -> None:
    body = {"prompt": "Once upon a time", "max_length": 1_500, "genkey": "KCPP4711", "ban_eos_token": True, "logprobs": True}
    answer = in_background(http.post, "/api/v1/generate", json=body)
    seen = until_said(http, "KCPP4711", 40)
    assert http.post("/api/extra/abort", json={"genkey": "KCPP4711"}).json()["success"] == "true"
    (result,) = answer.result(60).json()["results"]
    assert result["text"].startswith(seen)
    assert result["completion_tokens"] < 1_500
    assert text_of(http, "KCPP4711") == result["text"]
    logprobs = http.post("/api/extra/last_logprobs", json={"genkey": "KCPP4711"}).json()["logprobs"]
    assert len(logprobs["tokens"]) == len(result["logprobs"]["tokens"]) > 5
    perf = http.get("/api/extra/perf").json()
    assert perf["last_token_count"] == result["completion_tokens"]
    assert perf["last_eval_speed"] > 0


def test_placeholders_are_the_model_s_own_marks(http: httpx.Client) -> None:
    sampling: dict[str, Any] = {"temperature": 0, "rep_pen": 1, "max_length": 12}
    asked = "{{[SYSTEM]}}You are brief.{{[SYSTEM_END]}}{{[INPUT]}}Say hello.{{[INPUT_END]}}{{[OUTPUT]}}"
    meant = "<|im_start|>system\nYou are brief.<|im_end|>\n<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"
    said = [
        http.post("/api/v1/generate", json={"prompt": prompt, **sampling}).json()["results"][0]["text"]
        for prompt in (asked, meant)
    ]
    assert said[0] == said[1] != ""


def test_what_a_page_asks_at_its_start(http: httpx.Client) -> None:
    assert "SmolLM2" in http.get("/api/v1/model").json()["result"]
    assert http.get("/api/v1/info/version").json()["result"] == "1.2.5"
    assert http.get("/api/extra/true_max_context_length").json() == {"value": 2_048}
    assert http.get("/api/v1/config/max_context_length").json() == {"value": 2_048}
    counted = http.post("/api/extra/tokencount", json={"prompt": "Hello there."}).json()
    assert http.post("/api/extra/detokenize", json={"ids": counted["ids"]}).json()["result"].endswith("Hello there.")
    assert http.get("/.well-known/serviceinfo").json()["api"]["koboldai"]["rel_url"] == "/api"
