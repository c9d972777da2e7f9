"""Runs an engine on the fake executor by hand, one step at a time, and collects what comes out."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from publican.core.events import ChoiceFinished, Delta, Embedded, Event, Failed, Finished, Started
from publican.core.executor import Executor, ExecutorInfo
from publican.core.ids import RequestId, TokenId
from publican.core.model import Pooling
from publican.core.request import Stopping, Wanted
from publican.core.sampling import SamplingParams
from publican.engine.budget import BudgetConfig
from publican.engine.engine import Engine
from publican.engine.job import Abort, Job, Report, Submit
from publican.executors.fake import FAKE_VOCABULARY, FakeExecutor

GREEDY = SamplingParams(temperature=0.0, seed=0)


def bytes_of(text: str) -> tuple[TokenId, ...]:
    return tuple(TokenId(b) for b in text.encode())


@dataclass
class Answer:
    events: list[Event] = field(default_factory=list)

    def text(self, index: int = 0) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Delta) and e.index == index)

    def tokens(self, index: int = 0) -> list[int]:
        return [t.id for e in self.events if isinstance(e, Delta) and e.index == index for t in e.tokens]

    def ended(self, index: int = 0) -> ChoiceFinished:
        (end,) = [e for e in self.events if isinstance(e, ChoiceFinished) and e.index == index]
        return end

    @property
    def finished(self) -> Finished:
        assert isinstance(self.events[-1], Finished)
        return self.events[-1]

    def check(self) -> None:
        """The order that `core.events` promises."""
        ends = [e for e in self.events if isinstance(e, Finished | Failed)]
        assert len(ends) == 1
        assert self.events[-1] is ends[0]
        if isinstance(ends[0], Finished):
            if isinstance(self.events[0], Embedded):
                assert len(self.events) == 2
                return
            assert isinstance(self.events[0], Started)
            assert sum(isinstance(e, Started) for e in self.events) == 1
        ended: set[int] = set()
        for event in self.events:
            if isinstance(event, Delta):
                assert event.index not in ended
            if isinstance(event, ChoiceFinished):
                assert event.index not in ended
                ended.add(event.index)


class Driver:
    """An engine without a thread."""

    def __init__(
        self,
        info: ExecutorInfo | None = None,
        max_running: int = 8,
        budget: BudgetConfig | None = None,
        max_guessing=0,
        draft: Executor | None = None,
        **fake,
    ):
        self.executor = FakeExecutor(info, **fake)
        self.engine = Engine(self.executor, FAKE_VOCABULARY, self._emit, max_running, budget, max_guessing, draft)
        self.answers: dict[RequestId, Answer] = defaultdict(Answer)
        self._num_jobs = 0

    def _emit(self, report: Report) -> None:
        for id, event in report.events:
            self.answers[id].events.append(event)

    def submit(
        self,
        prompt: str,
        sampling: SamplingParams = GREEDY,
        wanted: Wanted | None = None,
        negative: str = "",
        adapter: int = -1,
        pooling: Pooling | None = None,
        **stopping,
    ) -> RequestId:
        id = RequestId(f"job-{self._num_jobs}")
        self._num_jobs += 1
        stop = Stopping(**({"max_tokens": 16} | stopping))
        job = Job(id, bytes_of(prompt), sampling, stop, wanted or Wanted(), bytes_of(negative), adapter, pooling)
        self.engine.inbox.put(Submit(job))
        return id

    def abort(self, id: RequestId, keep: bool = False) -> None:
        self.engine.inbox.put(Abort(id, keep))

    def step(self) -> bool:
        self.engine.handle_commands(wait=False)
        worked = self.engine.step()
        self.engine.check()
        return worked

    def run(self, max_steps: int = 5_000) -> None:
        for _ in range(max_steps):
            if not self.step():
                if not self.engine.is_compiling:
                    return
                time.sleep(0.005)
        raise AssertionError("the engine does not come to an end")

    def ask(self, prompt: str, **rest) -> Answer:
        id = self.submit(prompt, **rest)
        self.run()
        self.answers[id].check()
        return self.answers[id]
