"""What clients of TGI read."""

from __future__ import annotations

import json

from publican.apis.feed import Item
from publican.apis.fold import Fold
from publican.apis.tgi.answers import Stream, whole
from publican.apis.tgi.translate import Shape
from publican.core.events import ChoiceFinished, Delta, Event, Finished, FinishReason, TokenOutput, Usage
from publican.core.ids import TokenId

EVENTS: list[Event] = [
    Delta(0, " hi"),  # before its token: the rest of that may begin a stop string
    Delta(0, "\n", (TokenOutput(TokenId(1), b" hi\n", -0.5),)),
    Delta(0, "there", (TokenOutput(TokenId(2), b"there", -0.5),)),
    ChoiceFinished(0, FinishReason.LENGTH),
    Finished(Usage(1, 2)),
]
ITEMS = [Item(0, event) for event in EVENTS]


def test_the_tokens_of_a_stream_are_its_text() -> None:
    stream = Stream(Shape())
    said = b"".join(stream.render([item]) for item in ITEMS).decode()
    lines = [json.loads(line.removeprefix("data:")) for line in said.split("\n\n") if line]
    assert [line["token"]["text"] for line in lines] == [" hi\n", "there"]
    assert lines[-1]["generated_text"] == " hi\nthere"


def test_the_tokens_of_a_whole_answer_are_its_text() -> None:
    fold = Fold()
    fold.add(ITEMS)
    tokens = whole(fold, Shape(details=True))["details"]["tokens"]
    assert [token["text"] for token in tokens] == [" hi\n", "there"]
