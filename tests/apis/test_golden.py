"""Golden files: requests, answers and streams of every dialect, exactly; streams also cut at every byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.apis.framing import parser_of
from tests.apis.golden import cases, dialects, load, made_of

ALL = cases()
STREAMS = [path for path in ALL if "stream" in load(path)]
Values = Iterable[dict[str, Any]]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_every_dialect_has_golden_files_and_those_that_stream_have_streams() -> None:
    assert set(dialects()) >= set(WHAT_A_STREAM_SAYS)
    assert {path.parent.name for path in STREAMS} >= set(WHAT_A_STREAM_SAYS)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_golden(path: Path) -> None:
    case = load(path)
    made = made_of(case)
    for name in ("status", "core", "response", "stream"):
        assert made.get(name) == case.get(name), name


@pytest.mark.parametrize("path", STREAMS, ids=name_of)
def test_streams_are_the_same_cut_at_every_byte(path: Path) -> None:
    case = load(path)
    data = "\n".join(case["stream"]).encode("ascii")
    whole = parser_of(case["path"])
    whole.feed(data)
    whole.end()
    assert whole.values
    for at in range(1, len(data)):
        parser = parser_of(case["path"])
        parser.feed(data[:at])
        parser.feed(data[at:])
        parser.end()
        assert parser.events == whole.events
    parser = parser_of(case["path"])
    for at in range(len(data)):
        parser.feed(data[at : at + 1])
    parser.end()
    assert parser.events == whole.events


# --- what a stream says is what would have been said at once


def openai(values: Values) -> dict[int, str]:
    said: dict[int, str] = {}
    for choice in (choice for value in values for choice in value["choices"]):
        piece = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        said[choice["index"]] = said.get(choice["index"], "") + piece
    return said


def responses(values: Values) -> dict[int, str]:
    deltas = [value["delta"] for value in values if value["type"] == "response.output_text.delta"]
    return {0: "".join(deltas)} if deltas else {}


def kobold(values: Values) -> dict[int, str]:
    return {0: "".join(value["token"] for value in values)}


def ollama(values: Values) -> dict[int, str]:
    texts = [value["message"]["content"] if "message" in value else value.get("response", "") for value in values]
    return {0: "".join(texts)} if any(texts) else {}


def vllm(values: Values) -> dict[int, str]:
    *_, last = values
    return {index: text.removeprefix("Say: ") for index, text in enumerate(last["text"])}


def tabby(values: Values) -> dict[int, str]:
    """Its only stream of its own tells how far a model is loaded."""
    assert all("module" in value or "error" in value for value in values)
    return {}


def llamacpp(values: Values) -> dict[int, str]:
    said: dict[int, str] = {}
    for value in values:
        said[value["index"]] = said.get(value["index"], "") + value["content"]
    return said


def anthropic(values: Values) -> dict[int, str]:
    texts = [value["delta"].get("text", "") for value in values if value["type"] == "content_block_delta"]
    return {0: "".join(texts)} if texts else {}


def tgi(values: Values) -> dict[int, str]:
    texts = [value["token"]["text"] for value in values if not value["token"]["special"]]
    return {0: "".join(texts)} if texts else {}


WHAT_A_STREAM_SAYS: dict[str, Callable[[Values], dict[int, str]]] = {
    "openai": openai,
    "responses": responses,
    "vllm": vllm,
    "llamacpp": llamacpp,
    "tabby": tabby,
    "anthropic": anthropic,
    "kobold": kobold,
    "tgi": tgi,
    "ollama": ollama,
}
"""The text of each choice in the messages of a stream."""


@pytest.mark.parametrize("path", STREAMS, ids=name_of)
def test_a_stream_says_what_the_model_said(path: Path) -> None:
    case = load(path)
    parser = parser_of(case["path"])
    parser.feed("\n".join(case["stream"]).encode("ascii"))
    if any(kind == "Failed" for kind, *_ in case.get("events", [])):
        assert "error" in json.dumps(parser.values[-1])
        return
    sent: dict[int, str] = {}
    for kind, fields, *base in case.get("events", []):
        if kind == "Delta":
            index = fields["index"] + (base[0] if base else 0)
            sent[index] = sent.get(index, "") + fields["text"]
    assert WHAT_A_STREAM_SAYS[path.parent.name](parser.values) == sent


@pytest.mark.parametrize("path", [path for path in STREAMS if path.parent.name == "openai"], ids=name_of)
def test_chunks_of_openai_s_streams(path: Path) -> None:
    """What SillyTavern takes for an error, and what every chunk has in common."""
    values = [json.loads(line[6:]) for line in load(path)["stream"] if line.startswith("data: {")]
    sound = [value for value in values if "error" not in value]
    assert len({(value["id"], value["created"], value["model"]) for value in sound}) == 1
    assert not any(key in value for value in sound for key in ("message", "detail"))
    assert load(path)["stream"][-3] == "data: [DONE]"
