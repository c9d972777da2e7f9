"""Streams of ``/v1/responses``, read by the types of OpenAI's own package, and held against the answer they end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.apis.fake_host import ScriptedHost
from tests.apis.golden import cases, load
from tests.apis.running import app_of, ask

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
STREAMS = [path for path in cases("responses") if "stream" in load(path)]
WHOLE = [path for path in cases("responses") if load(path).get("response", {}).get("object") == "response"]


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in load(path)["stream"] if line.startswith("data: ")]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_every_event_is_one_that_openai_s_package_knows(path: Path) -> None:
    events = events_of(path)
    for event in events:
        assert EVENT.validate_python(event).type == event["type"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    names = [line[7:] for line in load(path)["stream"] if line.startswith("event: ")]
    assert names == [event["type"] for event in events]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_whole_answers_are_of_its_types(path: Path) -> None:
    Response.model_validate(load(path)["response"])


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_items_are_opened_filled_and_closed_in_order(path: Path) -> None:
    *events, last = events_of(path)
    output = last["response"]["output"]
    closed: list[Any] = []
    opened: dict[str, Any] | None = None
    said = ""
    for event in events[2:]:
        match event["type"]:
            case "response.output_item.added":
                assert opened is None
                opened, said = event["item"], ""
            case "response.output_item.done":
                assert opened is not None
                assert event["item"]["id"] == opened["id"]
                assert said == text_of(event["item"])
                closed.append(event["item"])
                opened = None
            case kind:
                assert opened is not None
                assert event["item_id"] == opened["id"]
                assert event["output_index"] == len(closed)
                said += event["delta"] if kind.endswith(".delta") else ""
    assert opened is None
    assert closed == output


def text_of(item: dict[str, Any]) -> str:
    return str(item["arguments"]) if item["type"] == "function_call" else "".join(part["text"] for part in item["content"])


@pytest.mark.parametrize("name", ["calls", "logprobs"])
def test_a_stream_ends_with_what_would_have_been_said_at_once(name: str) -> None:
    whole = load(next(path for path in WHOLE if path.stem == name))["response"]
    streamed = events_of(next(path for path in STREAMS if path.stem == f"{name}_stream"))[-1]["response"]
    echoed = {"tool_choice": whole["tool_choice"]}
    assert {**streamed, **echoed} == whole


def test_a_refusal_is_openai_s_error() -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/v1/responses", {"input": "x", "temperature": -1})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "temperature"
