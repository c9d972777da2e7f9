"""Golden files: requests, answers and streams of every dialect, exactly; streams also cut at every byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.apis.golden import cases, load, made_of
from tests.apis.sse_parser import parse_sse

ALL = [*cases("openai"), *cases("ooba")]
STREAMS = [path for path in ALL if "stream" in load(path)]


def test_there_are_golden_files() -> None:
    assert len(ALL) >= 20
    assert len(STREAMS) >= 7


@pytest.mark.parametrize("path", ALL, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden(path: Path) -> None:
    case = load(path)
    made = made_of(path)
    assert made["core"] == case["core"]
    for name in ("response", "stream"):
        assert made.get(name) == case.get(name)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.stem)
def test_streams_are_the_same_cut_at_every_byte(path: Path) -> None:
    data = "\n".join(load(path)["stream"]).encode("ascii")
    whole = parse_sse(data)
    assert whole.events[-1] == "[DONE]"
    assert whole.values
    for at in range(1, len(data)):
        parser = parse_sse(data[:0])
        parser.feed(data[:at])
        parser.feed(data[at:])
        parser.end()
        assert parser.events == whole.events
    assert parse_sse(data, size=1).events == whole.events


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.stem)
def test_a_stream_says_what_the_whole_answer_says(path: Path) -> None:
    """Whatever is said in pieces is what would have been said at once."""
    case = load(path)
    values: list[Any] = [json.loads(line[6:]) for line in case["stream"] if line.startswith("data: {")]
    if any("error" in value for value in values):
        assert set(values[-1]) == {"error"}
        return
    texts: dict[int, str] = {}
    for choice in (choice for value in values for choice in value["choices"]):
        piece = choice["text"] if "text" in choice else choice["delta"].get("content", "")
        texts[choice["index"]] = texts.get(choice["index"], "") + piece
    sent: dict[int, str] = {}
    for kind, fields, *base in case["events"]:
        if kind == "Delta":
            index = fields["index"] + (base[0] if base else 0)
            sent[index] = sent.get(index, "") + fields["text"]
    assert texts == sent
    assert len({(value["id"], value["created"], value["model"]) for value in values}) == 1
    assert not any(key in value for value in values for key in ("message", "detail", "error"))
