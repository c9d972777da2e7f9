"""Ollama's Python client."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.cli.running import Running

HELLO: Any = [{"role": "user", "content": "Say hello."}]
COLD: Any = {"temperature": 0, "num_predict": 12}


@pytest.fixture
def client(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url, timeout=60) as client:
        yield client


def test_models(client: ollama.Client) -> None:
    (listed, *_) = client.list().models
    assert listed.details is not None
    assert (listed.details.family, listed.details.quantization_level) == ("llama", "Q4_1")
    (running,) = client.ps().models
    assert (running.model, running.context_length) == (listed.model, 2_048)
    shown = client.show(f"{listed.model}:latest")
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert "completion" in (shown.capabilities or [])
    assert "message" in (shown.template or "")


def test_a_chat_and_its_stream(client: ollama.Client) -> None:
    whole = client.chat("any", HELLO, options=COLD)
    parts = list(client.chat("any", HELLO, options=COLD, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert (parts[-1].done, parts[-1].done_reason, parts[-1].eval_count) == (True, whole.done_reason, whole.eval_count)
    assert (whole.eval_count or 0) > 0
    assert (whole.prompt_eval_count or 0) > 5


def test_raw_text_and_log_probabilities(client: ollama.Client) -> None:
    answer = client.generate("any", "The sky is", raw=True, options=COLD, logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert "".join(one.token for one in answer.logprobs) == answer.response
    assert all(len(one.top_logprobs or []) == 2 for one in answer.logprobs)
    assert answer.context is None


def test_a_conversation_goes_on_by_its_tokens(client: ollama.Client) -> None:
    first = client.generate("any", "My name is Alice.", options=COLD)
    second = client.generate("any", "What is my name?", context=first.context, options=COLD)
    assert first.context is not None
    assert list(second.context or [])[: len(first.context)] == list(first.context)
    assert (second.prompt_eval_count or 0) > len(first.context)


def test_json(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    answer = client.chat("any", HELLO, format=schema, options={"temperature": 0, "num_predict": 40})
    assert json.loads(answer.message.content or "")["n"] in (1, 2)


def test_refusals(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="images are not supported"):
        client.chat("any", [{"role": "user", "content": "What is this?", "images": [b"png"]}])
    with pytest.raises(ollama.ResponseError, match="not here"):
        client.show("llama9")


def test_vectors(client: ollama.Client) -> None:
    made = client.embed("any", ["A cat sat.", "A dog lay.", "A cat sat."])
    assert made.prompt_eval_count
    vectors = [list(vector) for vector in made.embeddings]
    assert all(math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-5) for vector in vectors)
    assert math.dist(vectors[0], vectors[2]) < 0.05 < math.dist(vectors[0], vectors[1])
    raw = client.embeddings("any", "A cat sat.").embedding
    assert math.hypot(*raw) > 2.0  # the old way gives them as they are
    assert math.isclose(sum(x * y for x, y in zip(raw, vectors[0], strict=True)), math.hypot(*raw), rel_tol=1e-2)
    few = list(client.embed("any", "A cat sat.", dimensions=16).embeddings[0])
    assert len(few) == 16
    assert math.isclose(math.hypot(*few), 1.0, rel_tol=1e-5)
    long = client.embed("any", "word " * 5_000)
    assert long.prompt_eval_count == 2_048
    with pytest.raises(ollama.ResponseError, match="context"):
        client.embed("any", "word " * 5_000, truncate=False)
