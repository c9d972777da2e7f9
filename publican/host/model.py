"""`LoadedModel`: one running model as a Backend. Event loop only; templates and long prompts are tokenised on threads.

It keeps its engine alive: when a worker dies, what it was running fails, and it is started again with back-off.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from publican.core.backend import Embeddings, EventStream, ModelCard, Progress, Status, no_progress
from publican.core.errors import EngineError, InvalidParameter, Overloaded, PublicanError, Unsupported, WorkerDied
from publican.core.events import Embedded, Failed, Finished
from publican.core.ids import RequestId, TokenId
from publican.core.model_info import ModelInfo
from publican.core.request import Caller, Prompt, Request, new_request_id
from publican.core.sampling import SamplingParams
from publican.core.step import NO_ADAPTER
from publican.engine.job import Abort, Command, EngineStats, Job, Report, SendTrace, StepTrace, Submit
from publican.host.answers.events import AnswerEvents
from publican.host.frames import Ready
from publican.host.measured import compare
from publican.host.options import WorkerSpec
from publican.host.port import EnginePort, PortCallbacks
from publican.host.prompts import Prepared, Prompter
from publican.host.streams import AnswerStream, RequestStream, Streams
from publican.host.vectors import VectorStyle

log = logging.getLogger(__name__)

_FIRST_RESTART_S = 0.5
_LONGEST_RESTART_S = 30.0
_STEADY_S = 60.0
_STARTING_TIMEOUT_S = 30.0
_NEWEST_WEIGHT = 0.1
_TEXTS_AT_ONCE = 8
"""Of one list that is to become vectors."""
_NO_SAMPLING = SamplingParams(seed=0)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the outside may know of a model before it runs. `loader` says which executor was chosen, and `why`; `info` is
    what its files say."""

    name: str
    created_s: int
    loader: str
    why: str
    info: ModelInfo | None = None


class LoadedModel:
    """A model and whoever talks to it.

    Args:
        description: its name, and where it came from.
        spec: what a worker needs to load it.
        prompter: turns prompts into tokens.
        make_port: a fresh engine for every start.
        max_waiting: requests that may wait beside those that run; one more is refused.
        vectors: how it makes vectors.
    """

    def __init__(
        self,
        description: ModelDescription,
        spec: WorkerSpec,
        prompter: Prompter,
        make_port: Callable[[], EnginePort],
        max_waiting: int = 256,
        vectors: VectorStyle | None = None,
    ) -> None:
        self.description = description
        self.spec = spec
        self.prompter = prompter
        self.stats = EngineStats()
        self.ready: Ready | None = None
        self._make_port = make_port
        self._max_waiting = max_waiting
        self._vectors = vectors or VectorStyle()
        self._port: EnginePort | None = None
        self._streams = Streams()
        self._running = asyncio.Event()
        self._restart: asyncio.Task[None] | None = None
        self._restart_s = _FIRST_RESTART_S
        self._started_s = 0.0
        self._traces: list[asyncio.Future[tuple[StepTrace, ...]]] = []
        self._request_s = 5.0  # how long a request takes, roughly, for Retry-After
        self._closed = False

    # --- starting and ending

    async def start(self, progress: Progress = no_progress) -> Ready:
        """Load the model. Raises what loading raises."""
        port = self._make_port()
        self.ready = await port.start(self.spec, PortCallbacks(self._report, self._exited, progress))
        self._port = port
        self._started_s = time.monotonic()
        self._running.set()
        for memory in compare(self.spec.planned_bytes, self.ready):
            log.info("%s is loaded; %s", self.description.name, memory)
        return self.ready

    @property
    def is_up(self) -> bool:
        """Whether its engine holds memory."""
        return self._port is not None

    async def close(self) -> None:
        """Fail what runs, and free everything. Whoever asks from now on is refused."""
        self._closed = True
        self._running.set()  # whoever waits for a restart waits no more
        self._streams.fail_all(_unloaded())
        self._give_up_traces()
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait({self._restart})
        port, self._port = self._port, None
        if port is not None:
            await port.close()

    def _exited(self, how: str) -> None:
        self._port = None
        self._running.clear()
        if self._closed:
            return
        log.error("the worker of %s ended (%s) with %d requests", self.description.name, how, len(self._streams))
        self._streams.fail_all(
            WorkerDied("The model's process ended while this request ran; it is being restarted, try again.")
        )
        self.stats = replace(self.stats, num_running=0, num_waiting=0, num_locked_tokens=0)
        self._give_up_traces()
        if time.monotonic() - self._started_s > _STEADY_S:
            self._restart_s = _FIRST_RESTART_S
        self._restart = asyncio.get_running_loop().create_task(self._start_again())

    def _give_up_traces(self) -> None:
        for waiting in self._traces:
            if not waiting.done():
                waiting.set_result(())
        self._traces.clear()

    async def _start_again(self) -> None:
        while not self._closed:
            delay_s, self._restart_s = self._restart_s, min(2 * self._restart_s, _LONGEST_RESTART_S)
            log.info("starting %s again in %.1f s", self.description.name, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self.start()
            except PublicanError as error:
                log.error("%s could not be started again: %s", self.description.name, error)
            else:
                return

    # --- requests

    async def generate(self, request: Request) -> EventStream:
        if self._vectors.only:
            raise Unsupported(f"{self.description.name} turns texts into vectors and writes none; ask it for embeddings.")
        prepared = await self.prompter.prepare(request)
        job = await self._job(request, prepared)
        echo = self.prompter.text_of(request.prompt, job.tokens) if request.wanted.echo else ""
        stream = await self._submit(job, request.caller.user, echo)
        if prepared.reading is None:
            return stream
        return AnswerStream(stream, AnswerEvents(prepared.reading, job.wanted.logprobs is not None))

    async def _submit(self, job: Job, user: str, echo: str = "") -> RequestStream:
        if not self._running.is_set():
            await self._wait_until_running()
        if self._closed:  # while this was being tokenised, or waited
            raise _unloaded()
        self._check_queue()
        stream = RequestStream(job.id, user, echo, self._cancel)
        self._streams.add(job.id, stream)
        self._send(Submit(job))
        return stream

    async def embed(self, prompts: tuple[Prompt, ...], truncate: bool) -> Embeddings:
        """See `core.backend.Control`. A few texts at a time, so that a long list leaves room for conversations."""
        room = asyncio.Semaphore(_TEXTS_AT_ONCE)
        texts = [await self.prompter.encode_whole(prompt, self._vectors, truncate) for prompt in prompts]
        tasks = [asyncio.ensure_future(self._vector(text, room)) for text in texts]
        try:
            vectors = tuple([await task for task in tasks])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Embeddings(vectors, sum(len(text) for text in texts))

    async def _vector(self, tokens: tuple[TokenId, ...], room: asyncio.Semaphore) -> tuple[float, ...]:
        async with room:
            job = Job(new_request_id("embd"), tokens, _NO_SAMPLING, pooling=self._vectors.pooling)
            stream = await self._submit(job, "")
            try:
                return await _embedded(stream)
            finally:
                await stream.aclose()

    async def _job(self, request: Request, prepared: Prepared) -> Job:
        sampling = prepared.sampling
        if sampling.seed is None:
            sampling = replace(sampling, seed=random.getrandbits(63))
        negative = await self.prompter.negative_tokens(sampling, prepared.tokens)
        adapter = self._adapter(request)
        return Job(request.id, prepared.tokens, sampling, request.stopping, prepared.wanted, negative, adapter)

    def _adapter(self, request: Request) -> int:
        """The one that is named as such, or in place of a model; a model's name that nobody knows means the model."""
        names = self.adapters
        if request.adapter and request.adapter not in names:
            here = f"here are: {', '.join(names[:20])}" if names else "none is loaded"
            raise InvalidParameter("adapter", f"there is no adapter {request.adapter!r:.80}; {here}.")
        name = request.model if request.adapter is None else request.adapter
        return names.index(name) if name in names else NO_ADAPTER

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(adapter.name for adapter in self.spec.adapters)

    def _check_queue(self) -> None:
        waiting = len(self._streams) - self.spec.max_running
        if waiting >= self._max_waiting:
            retry_after_s = max(1, int(self._request_s * (waiting + 1) / self.spec.max_running))
            raise Overloaded(f"{waiting} requests are waiting already; try again in {retry_after_s} s.", retry_after_s)

    async def _wait_until_running(self) -> None:
        try:
            await asyncio.wait_for(self._running.wait(), _STARTING_TIMEOUT_S)
        except TimeoutError:
            raise Overloaded("The model is being started; try again in a moment.", int(self._restart_s) + 1) from None

    def _cancel(self, id: RequestId) -> None:
        if self._streams.forget(id):
            self._send(Abort(id))

    def _send(self, command: Command) -> None:
        if self._port is not None:
            self._port.send(command)

    def _report(self, report: Report) -> None:
        for id, event in report.events:
            if isinstance(event, Finished):
                took_s = event.usage.prefill_s + event.usage.decode_s
                self._request_s += _NEWEST_WEIGHT * (took_s - self._request_s)
            self._streams.put(id, event)
        if report.stats is not None:
            self.stats = report.stats
        if report.trace is not None:
            for waiting in self._traces:
                if not waiting.done():
                    waiting.set_result(report.trace)
            self._traces.clear()

    # --- what the outside asks

    def stop(self, caller: Caller, id: RequestId | None = None) -> int:
        """End `id`, or everything that `caller` started (for an admin: everything), with what there is."""
        ended = [own for own in self._streams.of(caller) if id in (None, own)]
        for own in ended:
            self._send(Abort(own, keep=True))
        return len(ended)

    async def trace(self) -> tuple[StepTrace, ...]:
        """How the last steps went; empty if the worker is down."""
        if self._port is None:
            return ()
        waiting: asyncio.Future[tuple[StepTrace, ...]] = asyncio.get_running_loop().create_future()
        self._traces.append(waiting)
        self._send(SendTrace())
        return await waiting

    @property
    def card(self) -> ModelCard:
        info, ready = self.description.info, self.ready
        return ModelCard(
            name=self.description.name,
            context_len=self.spec.context_len,
            loaded=True,
            created_s=self.description.created_s,
            details={"loader": self.description.loader, "device": ready.info.device if ready else "", **self._runs_with()},
            num_bytes=info.num_bytes if info else 0,
            sampling=info.sampling if info else {},
            adapters=self.adapters,
            writes=not self._vectors.only,
            embeds=ready is not None and ready.info.hidden_size > 0,
        )

    def _runs_with(self) -> dict[str, Any]:
        """What was decided about its memory, for whoever describes it: tokens of all conversations, how keys and values are
        kept, tokens in a step, the model that guesses for it."""
        draft = self.spec.draft.checkpoint if self.spec.draft is not None else None
        return {
            "cache_len": self.spec.num_tokens,
            "cache_type": self.spec.kv_type,
            "chunk_len": self.spec.max_batch_tokens,
            "draft": draft.name if draft is not None else "",
        }

    @property
    def status(self) -> Status:
        running = self._running.is_set()
        stats = self.stats
        kv_used = stats.num_locked_tokens / stats.num_total_tokens if stats.num_total_tokens else 0.0
        text = "ok" if running else "the model is being started again"
        num_unseen = len(self._streams) - stats.num_running - stats.num_waiting  # they came while the engine is in a step
        num_waiting = stats.num_waiting + max(0, num_unseen)
        return Status(
            healthy=running,
            text=text,
            num_running=stats.num_running,
            num_waiting=num_waiting,
            kv_used=kv_used,
            num_slots=self.spec.max_running,
            card=self.card,
            num_guessed=stats.num_guessed_tokens,
            num_true=stats.num_true_tokens,
            num_preemptions=stats.num_preemptions,
        )


async def _embedded(stream: RequestStream) -> tuple[float, ...]:
    async for event in stream:
        if isinstance(event, Embedded):
            return event.vector
        if isinstance(event, Failed):
            raise event.error
    raise EngineError("The text was read and gave no vector; ask again.")


def _unloaded() -> WorkerDied:
    return WorkerDied("The model was unloaded before this request was finished; try again in a moment.")
