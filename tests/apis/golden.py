"""Golden files: what a client sends, what the core is asked, what the core says, what the client gets.

A case is a JSON file under tests/golden: `path` (and `method`, if it is not POST), `request` and `events` are written by hand;
`status`, `core`, and `response` or `stream` are what the whole front makes of them today, looked over by a person and then
held. `python -m tests.apis.golden [dialect …]` writes those anew; read the diff before you commit it.

A case runs through the application itself, with a host that plays its events one at a time.
"""

from __future__ import annotations

import itertools
import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

from publican.core import events as core_events
from publican.core.errors import EngineError
from publican.core.events import Event, Failed, Finished, FinishReason, TokenOutput, TopLogprob, Usage
from publican.core.ids import RequestId, TokenId
from publican.core.request import Request
from publican.core.sampling.wire import sampling_params
from tests.apis.fake_host import Pause, ScriptedHost, Step
from tests.apis.framing import is_stream
from tests.apis.running import app_of, ask

FOLDER = Path(__file__).parent.parent / "golden"
CREATED_S = 1_700_000_000
BY_HAND = ("about", "method", "path", "request", "events")


def dialects() -> list[str]:
    return sorted(folder.name for folder in FOLDER.iterdir())


def cases(*names: str) -> list[Path]:
    return sorted(path for name in names or dialects() for path in (FOLDER / name).glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


# --- events


def scripts_of(case: Mapping[str, Any]) -> list[list[Event]]:
    """What each of a case's requests is told: `events` are ``[type, {fields}]`` or ``[type, {fields}, base]``.

    A request is all that has one base; an end of everything at once is the end of each.
    """
    bases: dict[int, list[Event]] = {}
    for kind, fields, *base in case.get("events", []):
        event = _event(kind, dict(fields))
        at = base[0] if base else 0
        if isinstance(event, Finished | Failed) and not base and bases:
            for index, base_of in enumerate(sorted(bases)):
                bases[base_of].append(event if index == 0 or isinstance(event, Failed) else Finished(Usage(0, 0)))
        else:
            bases.setdefault(at, []).append(event)
    return [bases[base] for base in sorted(bases)]


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


# --- what the front makes of a case


def made_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """`status`, `core`, and `response` or `stream`, as they come out today."""
    scripts = iter(scripts_of(case))

    def script(request: Request) -> Iterator[Step]:
        for event in next(scripts):
            yield event
            yield from [Pause(0)] * 3  # so that each event arrives alone

    host = ScriptedHost(script)
    with _still_clock():
        answer = ask(app_of(host), case.get("method", "POST"), case["path"], case.get("request"))
    made: dict[str, Any] = {"status": answer.status_code, "core": [core_of(request) for request in host.requests]}
    if is_stream(answer):
        made["stream"] = answer.content.decode("ascii").split("\n")
    else:
        made["response"] = json.loads(answer.content) if answer.content else None
    return made


@contextmanager
def _still_clock() -> Iterator[None]:
    """The same time and the same ids on every run."""
    numbers = itertools.count(1)
    with (
        mock.patch("time.time", return_value=float(CREATED_S)),
        mock.patch("uuid.uuid4", side_effect=lambda: uuid.UUID(int=next(numbers))),
    ):
        yield


def core_of(request: Request) -> dict[str, Any]:
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
    for file in cases(*sys.argv[1:]):
        case = load(file)
        inputs = {name: case[name] for name in BY_HAND if name in case}
        file.write_text(json.dumps({**inputs, **made_of(case)}, indent=1, ensure_ascii=False) + "\n")
        print(file.relative_to(FOLDER.parent))
