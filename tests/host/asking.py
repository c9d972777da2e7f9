"""Asking a Backend, and folding what it says."""

from __future__ import annotations

from dataclasses import dataclass, field

from publican.core.backend import Backend, EventStream
from publican.core.events import ChoiceFinished, Delta, Event, Failed, Finished, Started
from publican.core.request import Request, Stopping, TextPrompt, Wanted
from publican.core.sampling import SamplingParams

GREEDY = SamplingParams(temperature=0.0)


def request(prompt: str, max_tokens: int | None = 16, sampling: SamplingParams = GREEDY, wanted: Wanted | None = None, **rest):
    stopping = rest.pop("stopping", Stopping(max_tokens=max_tokens))
    return Request(TextPrompt(prompt), sampling, stopping, wanted or Wanted(), **rest)


@dataclass
class Folded:
    events: list[Event] = field(default_factory=list)

    def text(self, index: int = 0) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Delta) and e.index == index)

    @property
    def last(self) -> Finished | Failed:
        assert isinstance(self.events[-1], Finished | Failed)
        return self.events[-1]

    @property
    def started(self) -> Started:
        return next(e for e in self.events if isinstance(e, Started))

    def ended(self, index: int = 0) -> ChoiceFinished:
        return next(e for e in self.events if isinstance(e, ChoiceFinished) and e.index == index)


async def fold(stream: EventStream) -> Folded:
    return Folded([event async for event in stream])


async def ask(backend: Backend, prompt: str, **rest) -> Folded:
    return await fold(await backend.generate(request(prompt, **rest)))
