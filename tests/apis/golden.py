"""Golden files: what a client sends, what the core is asked, what the core says, what the client gets.

A case is a JSON file under tests/golden: `path`, `request` and `events` are written by hand; `core`, `response` and
`stream` are what our translation makes of them, looked over by a person and then held. `python -m tests.apis.golden`
writes those three anew; read the diff before you commit it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from publican.apis.feed import Item
from publican.apis.fold import Fold
from publican.apis.ooba import translate as ooba
from publican.apis.ooba.routes import texts
from publican.apis.openai import translate as openai
from publican.apis.openai.forms import ChatCompletion, Completion
from publican.core import events as core_events
from publican.core.errors import EngineError
from publican.core.events import Event, Failed, FinishReason, TokenOutput, TopLogprob, Usage
from publican.core.ids import RequestId, TokenId
from publican.core.request import Caller, Request
from publican.core.sampling.wire import sampling_params

FOLDER = Path(__file__).parent.parent / "golden"
CREATED_S = 1_700_000_000
MODEL = "tiny"
CALLER = Caller("someone")


def cases(dialect: str) -> list[Path]:
    return sorted((FOLDER / dialect).glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


# --- events


def items_of(case: Mapping[str, Any]) -> list[Item]:
    """`events` of a case: ``[type, {fields}]`` or ``[type, {fields}, base]``."""
    return [Item(base[0] if base else 0, _event(kind, dict(fields))) for kind, fields, *base in case["events"]]


def _event(kind: str, fields: dict[str, Any]) -> Event:
    for name in ("tokens", "prompt"):
        if name in fields:
            fields[name] = tuple(_token(token) for token in fields[name])
    if "reason" in fields:
        fields["reason"] = FinishReason(fields["reason"])
    if kind == "Finished":
        fields = {"usage": Usage(**fields)}
    if kind == "Failed":
        return Failed(EngineError(fields["text"]))
    event: Event = getattr(core_events, kind)(**fields)
    return event


def _token(fields: dict[str, Any]) -> TokenOutput:
    top = tuple(TopLogprob(TokenId(id), _piece(piece), logprob) for id, piece, logprob in fields.get("top", []))
    return TokenOutput(TokenId(fields["id"]), _piece(fields.get("piece", "")), fields.get("logprob"), top)


def _piece(text: str) -> bytes:
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


# --- what our translation makes of a case


def made_of(path: Path) -> dict[str, Any]:
    """`core`, and `response` or `stream`, as they come out today."""
    case = load(path)
    return _openai(case) if path.parent.name == "openai" else _ooba(case)


def _openai(case: Mapping[str, Any]) -> dict[str, Any]:
    chat = case["path"] == "/v1/chat/completions"
    asked = openai.chat(case["request"], CALLER) if chat else openai.completion(case["request"], CALLER)
    form = ChatCompletion if chat else Completion
    first = replace(asked.requests[0], id=RequestId("chatcmpl-1" if chat else "cmpl-1"))
    answer = form(first, asked.shape, MODEL, CREATED_S)
    made: dict[str, Any] = {"core": [_core(request) for request in asked.requests]}
    items = items_of(case)
    if asked.shape.stream:
        made["stream"] = streamed(answer, items).decode("ascii").split("\n")
    else:
        fold = Fold()
        fold.add(items)
        made["response"] = answer.whole(fold)
    return made


def streamed(answer: Any, items: list[Item]) -> bytes:
    """What a stream says if each event comes alone."""
    return b"".join(
        answer.failed(item.event.error) if isinstance(item.event, Failed) else answer.render([item]) for item in items
    )


def _ooba(case: Mapping[str, Any]) -> dict[str, Any]:
    fold = Fold()
    fold.add(items_of(case))
    if case["path"] == "/api/v1/generate":
        request = ooba.generate(case["request"], CALLER)
        return {"core": [_core(request)], "response": texts(fold)}
    asked = ooba.chat(case["request"], CALLER)
    history = asked.histories.after("".join(choice.text for choice in fold.in_order()))
    return {"core": [_core(asked.request)], "response": {"results": [{"history": history}]}}


def _core(request: Request) -> dict[str, Any]:
    """A request as JSON: what its dialect does not say by silence."""
    plain = asdict(replace(request, id=RequestId("")))
    kind = type(request.prompt).__name__
    neutral = asdict(Request(request.prompt, sampling_params(request.dialect, {}), id=RequestId("")))
    shown: dict[str, Any] = {"prompt": {kind: plain["prompt"]}}
    for name in ("sampling", "stopping", "wanted"):
        shown[name] = {key: value for key, value in plain[name].items() if value != neutral[name][key]}
    shown |= {name: plain[name] for name in ("model", "dialect") if plain[name] is not None}
    value: dict[str, Any] = json.loads(json.dumps(shown))
    return value


if __name__ == "__main__":
    for file in (*cases("openai"), *cases("ooba")):
        case = load(file)
        inputs = {name: case[name] for name in ("about", "path", "request", "events")}
        file.write_text(json.dumps({**inputs, **made_of(file)}, indent=1, ensure_ascii=False) + "\n")
        print(file.relative_to(FOLDER.parent))
