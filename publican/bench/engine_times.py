"""Times an engine on an executor: jobs in, steps one by one on the calling thread, and the engine's own trace of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from publican.bench.executor_times import some_tokens
from publican.core.errors import EngineError
from publican.core.events import Delta, Failed, Finished
from publican.core.executor import Executor
from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.engine import Engine
from publican.engine.job import Abort, Job, Report, SendTrace, StepTrace, Submit

_ENDLESS = 10**9


class Newcomer(NamedTuple):
    """Steps of the others before a long prompt came, and those that computed some of it."""

    before: tuple[StepTrace, ...]
    during: tuple[StepTrace, ...]


class EngineTimer:
    """An engine without a thread, and conversations that go on from one measurement to the next.

    A conversation that goes on finds all it has said in the cache, so that any number of them are decoding at once from
    the first step, each as long as `ExecutorTimer` has it.

    Args:
        executor: fresh; not closed here.
        sampling: what every job asks for.
        max_running: the most conversations at once.
    """

    def __init__(self, executor: Executor, sampling: SamplingParams, max_running: int) -> None:
        self.info = executor.info
        vocabulary = Vocabulary(tuple(f" w{i}".encode() for i in range(self.info.vocab_size)))
        self._engine = Engine(executor, vocabulary, self._take, max_running)
        self._sampling = sampling
        self._talks: list[list[TokenId]] = []
        self._said: dict[RequestId, list[TokenId]] = {}
        self._ended: set[RequestId] = set()
        self._trace: tuple[StepTrace, ...] = ()

    # --- what is measured

    def first_token_s(self, tokens: Sequence[TokenId]) -> float:
        """From submitting a prompt to its first token, with nobody else there."""
        begin = time.perf_counter()
        self._answer(tokens)
        return time.perf_counter() - begin

    def decode(self, batch_size: int, context_len: int, num_steps: int) -> tuple[StepTrace, ...]:
        """Steps that gave each of `batch_size` conversations a token, after `context_len` tokens or more.

        Raises:
            EngineError: they were never all computed together.
        """
        began_s, ids = time.time(), self._go_on(batch_size, context_len)
        for _ in range(num_steps):
            self._step()
        self._pause(ids)
        return _only(self._steps_since(began_s), batch_size)[-num_steps:]

    def newcomer(self, num_running: int, context_len: int, newcomer_len: int, num_steps: int) -> Newcomer:
        """A long prompt arrives while others are being answered."""
        began_s, ids = time.time(), self._go_on(num_running, context_len)
        for _ in range(num_steps):
            self._step()
        arrived_s = time.time()
        self._answer(some_tokens(-2, newcomer_len, self.info.vocab_size))
        self._pause(ids)
        steps = self._steps_since(began_s)
        before = _only([step for step in steps if step.started_s < arrived_s], num_running)
        return Newcomer(before, tuple(step for step in steps if step.started_s >= arrived_s and step.num_prompt_tokens))

    # --- conversations

    def _go_on(self, batch_size: int, context_len: int) -> list[RequestId]:
        """All of them are being answered."""
        while len(self._talks) < batch_size:
            prompt = some_tokens(len(self._talks), context_len, self.info.vocab_size)
            self._talks.append(prompt + self._answer(prompt))
        ids = [self._submit(talk, _ENDLESS) for talk in self._talks[:batch_size]]
        while not all(self._said[id] for id in ids):
            self._step()
        return ids

    def _pause(self, ids: Sequence[RequestId]) -> None:
        for id, talk in zip(ids, self._talks, strict=False):
            self._engine.inbox.put(Abort(id))
            talk.extend(self._said[id])
        self._engine.handle_commands(wait=False)

    def _answer(self, tokens: Sequence[TokenId]) -> list[TokenId]:
        """The one token that follows."""
        id = self._submit(tokens, max_tokens=1)
        while id not in self._ended:
            self._step()
        return self._said[id]

    # --- driving

    def _take(self, report: Report) -> None:
        for id, event in report.events:
            if isinstance(event, Failed):
                raise EngineError(f"A job of the benchmark failed: {event.error}")
            if isinstance(event, Delta):
                self._said[id] += [token.id for token in event.tokens]
            if isinstance(event, Finished):
                self._ended.add(id)
        if report.trace is not None:
            self._trace = report.trace

    def _submit(self, tokens: Sequence[TokenId], max_tokens: int) -> RequestId:
        id = RequestId(f"bench-{len(self._said)}")
        self._said[id] = []
        stopping = Stopping(max_tokens=max_tokens, ignore_eos=True)
        self._engine.inbox.put(Submit(Job(id, tuple(tokens), self._sampling, stopping)))
        return id

    def _step(self) -> None:
        self._engine.handle_commands(wait=False)
        self._engine.step()

    def _steps_since(self, began_s: float) -> list[StepTrace]:
        self._engine.inbox.put(SendTrace())
        self._engine.handle_commands(wait=False)
        return [step for step in self._trace if step.started_s >= began_s]


def _only(steps: Sequence[StepTrace], batch_size: int) -> tuple[StepTrace, ...]:
    """Those of `batch_size` rows of one token each."""
    found = tuple(step for step in steps if step.num_rows == batch_size and not step.num_prompt_tokens)
    if not found:
        raise EngineError(f"The engine never computed {batch_size} sequences together; give it more memory.")
    return found
