"""What the host hands to an engine, and what it gets back: plain data that crosses a process border."""

from __future__ import annotations

from dataclasses import dataclass, field

from publican.core.events import Event
from publican.core.ids import RequestId, TokenId
from publican.core.model import Pooling
from publican.core.request import Stopping, Wanted
from publican.core.sampling import SamplingParams
from publican.core.step import NO_ADAPTER


@dataclass(frozen=True, slots=True)
class Job:
    """A request after tokenising. `sampling.seed` is always set, so that a job gives the same answer wherever it runs.

    `negative_tokens` is the prompt that guidance moves away from, where `sampling.guidance_scale` is not 1. `adapter` is the
    executor's number of the adapter to answer with. With `pooling` no answer is wanted but the prompt's vector (`Embedded`).
    """

    id: RequestId
    tokens: tuple[TokenId, ...]
    sampling: SamplingParams
    stopping: Stopping = field(default_factory=Stopping)
    wanted: Wanted = field(default_factory=Wanted)
    negative_tokens: tuple[TokenId, ...] = ()
    adapter: int = NO_ADAPTER
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True)
class Submit:
    """Begin this job. It ends in one `Finished` or `Failed` event."""

    job: Job


@dataclass(frozen=True, slots=True)
class Abort:
    """End a job. With `keep` it ends as finished with what it has; without, nobody listens any more and no event follows."""

    id: RequestId
    keep: bool = False


@dataclass(frozen=True, slots=True)
class SendTrace:
    """Send the trace of the last steps with the next `Report`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Fail what runs and end the loop."""


Command = Submit | Abort | SendTrace | Close


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step, for whoever looks for lost time. Times in milliseconds.

    `num_prompt_tokens` of the tokens in `num_rows` rows were prefill. `draft_ms` is what a draft model took before.
    """

    started_s: float
    num_rows: int
    num_prompt_tokens: int
    num_waiting: int
    plan_ms: float
    execute_ms: float
    sample_ms: float
    commit_ms: float
    emit_ms: float
    draft_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters since the engine began, and how things stand."""

    num_running: int = 0
    num_waiting: int = 0
    num_locked_tokens: int = 0
    num_total_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    num_guessed_tokens: int = 0
    num_true_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a step gives to the outside, in one message: events in order, and now and then the numbers."""

    events: tuple[tuple[RequestId, Event], ...] = ()
    stats: EngineStats | None = None
    trace: tuple[StepTrace, ...] | None = None
