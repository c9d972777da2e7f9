"""Loads a URL with the four workloads, one after the other, and folds what came into a report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from publican.bench.client import Asking, Client, Turn
from publican.bench.metrics import Goals, Summary, summarise
from publican.bench.timeline import Record
from publican.bench.workloads import NAMES, Conversation, Sizes, Workload, make_workload
from publican.core.errors import PublicanError, SettingsError

MAX_USERS = 1_000
MAX_REQUESTS = 20_000
MAX_TEMPERATURE = 100

Progress = Callable[[str, int, int], None]
"""Called with a workload's name, requests done, and requests in all, after each request."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """One run.

    Attributes:
        workloads: which of `NAMES`, in this order.
        sizes: how many users, turns, tokens.
        goals: what a request must do to count as good.
        num_warmups: requests before anything is measured, so that nobody pays for what is done once.
        seed: the words of all prompts. None takes new ones, which no earlier run can have left in the server's cache.
    """

    asking: Asking
    workloads: tuple[str, ...] = NAMES
    sizes: Sizes = field(default_factory=Sizes)
    goals: Goals = field(default_factory=Goals)
    num_warmups: int = 2
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in self.workloads:
            if name not in NAMES:
                raise SettingsError(f"There is no workload {name!r}; there are {', '.join(NAMES)}.")
        for name in ("num_users", "num_turns", "num_singles", "num_swipes", "prompt_tokens"):
            if getattr(self.sizes, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, got {getattr(self.sizes, name)}.")
        if self.asking.max_tokens < 1:
            raise SettingsError(f"max_tokens must be 1 or more, got {self.asking.max_tokens}.")
        if not 0 <= self.asking.temperature <= MAX_TEMPERATURE:
            raise SettingsError(f"temperature must be between 0 and {MAX_TEMPERATURE}, got {self.asking.temperature}.")
        if self.sizes.num_users > MAX_USERS:
            raise SettingsError(f"num_users can be {MAX_USERS:,} at most, got {self.sizes.num_users:,}.")
        if sum(map(self.sizes.num_requests, self.workloads)) > MAX_REQUESTS:
            raise SettingsError(f"These are more than {MAX_REQUESTS:,} requests; take fewer users or turns.")


@dataclass(frozen=True, slots=True)
class ServeReport:
    """What a run gave. `seed` repeats its prompts; `began` is seconds since 1970."""

    config: ServeConfig
    model: str
    seed: int
    began: float
    summaries: tuple[Summary, ...]
    records: dict[str, tuple[Record, ...]]


def run_serve(config: ServeConfig, progress: Progress | None = None) -> ServeReport:
    """`bench_serve` for callers without an event loop."""
    return asyncio.run(bench_serve(config, progress))


async def bench_serve(config: ServeConfig, progress: Progress | None = None) -> ServeReport:
    """Run every workload of `config`. Requests that fail are counted and do not stop it.

    Raises:
        PublicanError: no server answers there, or not one of the requests that come first is answered.
    """
    seed = config.seed if config.seed is not None else time.time_ns() % 10**9
    began = time.time()
    summaries: list[Summary] = []
    records: dict[str, tuple[Record, ...]] = {}
    async with Client(config.asking, max(2, config.sizes.num_users)) as client:
        model = await client.model()
        await _warm_up(client, config, seed)
        for name in config.workloads:
            workload = make_workload(name, config.sizes, seed)
            records[name] = await _Run(client, workload, seed, progress).all()
            summaries.append(summarise(name, records[name], config.goals))
    return ServeReport(config, model, seed, began, tuple(summaries), records)


async def _warm_up(client: Client, config: ServeConfig, seed: int) -> None:
    sizes = Sizes(num_users=max(1, config.num_warmups), num_turns=1, prompt_tokens=config.sizes.prompt_tokens)
    workload = make_workload("crowd", sizes, seed + 1)
    records = await _Run(client, workload, seed, None).all() if config.num_warmups else ()
    errors = [record.error for record in records if record.error is not None]
    if errors and len(errors) == len(records):
        raise PublicanError(f"The server at {client.url} answers nothing: {errors[0]}")


class _Run:
    """One workload on its way."""

    def __init__(self, client: Client, workload: Workload, seed: int, progress: Progress | None) -> None:
        self._client = client
        self._workload = workload
        self._seed = seed
        self._progress = progress
        self._places = asyncio.Semaphore(workload.num_at_once)
        self._records: list[Record] = []
        self._num_done = 0
        self._began_s = 0.0

    async def all(self) -> tuple[Record, ...]:
        """The records that count, in the order in which their requests were sent."""
        self._began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for user, conversation in enumerate(self._workload.conversations):
                group.create_task(self._hold(user, conversation))
        return tuple(sorted(self._records, key=lambda record: record.sent_s))

    async def _hold(self, user: int, conversation: Conversation) -> None:
        """A person's turns. One whose answer fails goes on without it."""
        history: tuple[tuple[str, str], ...] = ()
        async with self._places:
            for index, message in enumerate(conversation.messages):
                seed = (self._seed + 7_919 * user + index) % 2**31
                turn = Turn(user, index, conversation.card, history, message, seed)
                record, text = await self._client.ask(turn, self._began_s)
                if conversation.remembers and record.error is None:
                    history = (*history, (message, text))
                if index >= self._workload.num_uncounted:
                    self._records.append(record)
                self._num_done += 1
                if self._progress is not None:
                    self._progress(self._workload.name, self._num_done, self._workload.num_requests)
