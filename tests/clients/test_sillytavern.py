"""SillyTavern 1.19.0 as a real client: each kind of server that it takes us for, and what it makes of our answers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cli.running import Running
from tests.clients.sillytavern import DEFAULTS, SillyTavern, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEXT = "/api/backends/text-completions"
CHAT = "/api/backends/chat-completions"
KOBOLD = "/api/backends/kobold"
ENCODE = "/api/tokenizers/remote/textgenerationwebui/encode"

KINDS = ("ooba", "koboldcpp", "llamacpp", "vllm", "tabby", "aphrodite", "ollama", "generic", "huggingface")
WITH_TOKENIZER = ("ooba", "koboldcpp", "llamacpp", "vllm", "tabby", "aphrodite")
WITH_LOGPROBS = ("ooba", "koboldcpp", "llamacpp", "vllm", "tabby", "aphrodite")
PROMPT = "Once upon a time, there was a little"

OWN: dict[str, dict[str, Any]] = {
    "ooba": {
        "min_length": 0,
        "num_beams": 1,
        "length_penalty": 1,
        "early_stopping": False,
        "do_sample": True,
        "penalty_alpha": 0,
    },
    "koboldcpp": {"sampler_order": [6, 0, 1, 3, 4, 2, 5], "trim_stop": True, "dry_sequence_breakers": ["\n", ":"]},
    "llamacpp": {
        "samplers": ["penalties", "top_k", "top_p", "temperature"],
        "cache_prompt": True,
        "dry_sequence_breakers": ["\n"],
    },
    "huggingface": {"model": "tgi"},
}


@pytest.fixture(scope="module")
def tavern(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SillyTavern]:
    with running(server.url, tmp_path_factory.mktemp("sillytavern")) as it:
        yield it


def asked(tavern: SillyTavern, kind: str, **more: Any) -> dict[str, Any]:
    """What the browser sends for a text completion."""
    length = more.pop("length", 8)
    lengths = dict.fromkeys(("max_new_tokens", "max_tokens", "n_predict", "num_predict"), length)
    stop = {"stop": ["\nYou:"], "stopping_strings": ["\nYou:"]}
    who = {"api_type": kind, "api_server": tavern.upstream, "model": "any", "prompt": PROMPT, "stream": False}
    return {**DEFAULTS, **lengths, **stop, **OWN.get(kind, {}), **who, **more}


def said(kind: str, answer: dict[str, Any]) -> str:
    """The text of a whole answer, as its page finds it."""
    if "choices" in answer:
        choice = answer["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"]
    return answer["content"] if "content" in answer else answer["response"]


def events(stream: str) -> list[dict[str, Any]]:
    """The messages of a stream, as its page reads them: a line of data each, `[DONE]` or the end."""
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def piece(event: dict[str, Any]) -> str:
    if "choices" in event:
        choice = event["choices"][0] if event["choices"] else {}
        return choice.get("text") or choice.get("delta", {}).get("content") or ""
    return event.get("content") or event.get("token") or ""


@pytest.mark.parametrize("kind", KINDS)
def test_status(tavern: SillyTavern, kind: str) -> None:
    answer = tavern.post(f"{TEXT}/status", {"api_server": f"{tavern.upstream}/v1/", "api_type": kind})
    assert answer.status_code == 200, answer.text
    status = answer.json()
    if kind == "huggingface":
        assert status["result"] == "Valid"
    else:
        assert "SmolLM2" in status["result"]
        assert any("SmolLM2" in model["id"] for model in status["data"])
    assert (answer.headers.get("x-supports-tokenization") == "true") == (kind == "ooba")


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_and_its_stream(tavern: SillyTavern, kind: str) -> None:
    answer = tavern.post(f"{TEXT}/generate", asked(tavern, kind))
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.json(), answer.text
    whole = said(kind, answer.json())
    streamed = "".join(map(piece, events(tavern.stream(f"{TEXT}/generate", asked(tavern, kind, stream=True)))))
    assert streamed == whole
    assert len(whole) > 5


@pytest.mark.parametrize("kind", WITH_TOKENIZER)
def test_tokens_are_counted_without_the_first(tavern: SillyTavern, kind: str) -> None:
    counted = tavern.post(ENCODE, {"text": "Hello there.", "url": tavern.upstream, "api_type": kind, "model": "any"}).json()
    assert counted["count"] == 3
    assert len(counted["ids"]) in (0, 3)


@pytest.mark.parametrize("kind", WITH_LOGPROBS)
def test_each_event_of_a_stream_tells_of_one_token(tavern: SillyTavern, kind: str) -> None:
    wanted = {"logprobs": 5 if kind == "vllm" else 10, "n_probs": 10}
    wide = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 7}  # KoboldCpp tells what is left after truncation
    stream = events(tavern.stream(f"{TEXT}/generate", asked(tavern, kind, stream=True, **wanted, **wide)))
    spoken = [event for event in stream if piece(event)]
    assert len(spoken) == 8
    for event in spoken:
        if kind == "llamacpp":
            (token,) = event["completion_probabilities"]
            likely = {one["token"]: one["logprob"] for one in [*token["top_logprobs"], token]}
        else:
            (likely,) = event["choices"][0]["logprobs"]["top_logprobs"]
        assert len(likely) >= 5
        assert piece(event) in likely
        assert sum(math.exp(logprob) for logprob in likely.values()) <= 1.01


@pytest.mark.parametrize("kind", ["koboldcpp", "vllm", "tabby", "aphrodite"])
def test_a_whole_answer_can_be_cut_into_its_tokens(tavern: SillyTavern, kind: str) -> None:
    answer = tavern.post(f"{TEXT}/generate", asked(tavern, kind, logprobs=10, n_probs=10)).json()
    choice = answer["choices"][0]
    starts = choice["logprobs"]["text_offset"]
    cut = [choice["text"][a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    assert "".join(cut) == choice["text"]
    assert len(cut) == len(choice["logprobs"]["top_logprobs"]) == 8


@pytest.mark.parametrize("kind", ["vllm", "aphrodite", "tabby", "llamacpp"])
def test_several_swipes_at_once(tavern: SillyTavern, kind: str) -> None:
    body = asked(tavern, kind, n=3, temperature=1.0, seed=5, length=5, stream=True)
    found: dict[int, str] = {}
    for event in events(tavern.stream(f"{TEXT}/generate", body)):
        for choice in event.get("choices", [event]):
            text = choice.get("text") or choice.get("content") or ""
            found[choice.get("index", 0)] = found.get(choice.get("index", 0), "") + text
    assert sorted(found) == [0, 1, 2]
    assert all(found.values())


@pytest.mark.parametrize("kind", ["koboldcpp", "llamacpp"])
def test_the_template_and_the_context_are_told(tavern: SillyTavern, kind: str) -> None:
    props = tavern.post(f"{TEXT}/props", {"api_server": tavern.upstream, "api_type": kind, "model": "any"}).json()
    assert "message" in props["chat_template"]
    assert len(props["chat_template_hash"]) == 64
    assert props["default_generation_settings"]["n_ctx"] == 2_048


@pytest.mark.parametrize("kind", ["ooba", "koboldcpp", "llamacpp", "ollama"])
def test_the_stop_button(tavern: SillyTavern, kind: str) -> None:
    body = asked(tavern, kind, length=1_500, stream=True, ignore_eos=True, ban_eos_token=True)
    assert "data: " in tavern.hang_up(f"{TEXT}/generate", body)
    until_idle(tavern.upstream)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_shown(tavern: SillyTavern, stream: bool) -> None:
    answer = tavern.post(f"{TEXT}/generate", asked(tavern, "ooba", stream=stream, top_p=7))
    assert "top_p" in answer.text
    assert answer.status_code == (400 if stream else 200)


def until_idle(upstream: str, seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if "publican_requests_running 0.0" in httpx.get(f"{upstream}/metrics").text:
            return
        time.sleep(0.1)
    raise AssertionError("the answer is still being made")


# --- KoboldAI Classic

CLASSIC: dict[str, Any] = {
    "prompt": PROMPT,
    "gui_settings": False,
    "can_abort": True,
    "max_length": 8,
    "max_context_length": 1024,
    "rep_pen": 1.1,
    "rep_pen_range": 600,
    "rep_pen_slope": 0,
    "temperature": 0,
    "tfs": 1,
    "top_a": 0,
    "top_k": 0,
    "top_p": 1,
    "min_p": 0,
    "typical": 1,
    "sampler_order": [6, 0, 1, 2, 3, 4, 5],
    "singleline": False,
    "use_default_badwordsids": True,
    "mirostat": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "grammar": "",
    "sampler_seed": -1,
    "stop_sequence": ["\nYou:"],
}


def classic(tavern: SillyTavern, **more: Any) -> dict[str, Any]:
    return {**CLASSIC, "api_server": f"{tavern.upstream}/api", **more}


def test_kobold_classic(tavern: SillyTavern) -> None:
    status = tavern.post(f"{KOBOLD}/status", {"api_server": f"{tavern.upstream}/api"}).json()
    assert "SmolLM2" in status["model"]
    assert status["koboldUnitedVersion"] >= "1.2.4"
    assert status["koboldCppVersion"] == "KoboldCpp"
    answer = tavern.post(f"{KOBOLD}/generate", classic(tavern, streaming=False))
    assert answer.status_code == 200, answer.text
    whole = answer.json()["results"][0]["text"]
    stream = tavern.stream(f"{KOBOLD}/generate", classic(tavern, streaming=True))
    assert "".join(map(piece, events(stream))) == whole
    assert "[DONE]" not in stream
    counted = tavern.post("/api/tokenizers/remote/kobold/count", {"text": "Hello", "url": f"{tavern.upstream}/api"}).json()
    assert counted["count"] == len(counted["ids"])


def test_kobold_classic_s_stop_button_and_complaints(tavern: SillyTavern) -> None:
    tavern.hang_up(f"{KOBOLD}/generate", classic(tavern, streaming=True, max_length=1_000))
    until_idle(tavern.upstream)
    answer = tavern.post(f"{KOBOLD}/generate", classic(tavern, streaming=False, top_p=7))
    assert "top_p" in answer.json()["error"]["message"]


# --- chat completion

HELLO = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Say hello."}]


def test_a_chat_with_a_server_of_one_s_own(tavern: SillyTavern) -> None:
    who = {"chat_completion_source": "custom", "custom_url": f"{tavern.upstream}/v1"}
    status = tavern.post(f"{CHAT}/status", who).json()
    assert any("SmolLM2" in model["id"] for model in status["data"])
    body = {
        **who,
        "messages": HELLO,
        "model": "any",
        "temperature": 0,
        "max_tokens": 12,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_p": 1,
        "logprobs": 5,
        "stream": False,
    }
    answer = tavern.post(f"{CHAT}/generate", body)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    stream = events(tavern.stream(f"{CHAT}/generate", {**body, "stream": True}))
    assert "".join(map(piece, stream)) == choice["message"]["content"]
    tokens = [token for event in stream for token in ((event["choices"][0].get("logprobs") or {}).get("content") or [])]
    assert [token["token"] for token in tokens] == [token["token"] for token in choice["logprobs"]["content"]]
    assert all(len(token["top_logprobs"]) == 5 for token in tokens)


def test_a_chat_s_stop_button(tavern: SillyTavern) -> None:
    body = {
        "chat_completion_source": "custom",
        "custom_url": f"{tavern.upstream}/v1",
        "messages": HELLO,
        "model": "any",
        "max_tokens": 1_000,
        "stream": True,
    }
    tavern.hang_up(f"{CHAT}/generate", body)
    until_idle(tavern.upstream)
