"""Times steps, and keeps the trace of the last ones. Engine thread only."""

from __future__ import annotations

import time
from collections import deque

from publican.engine.job import EngineStats, StepTrace
from publican.engine.scheduler import Scheduler

_STATS_EVERY_S = 0.25
_TRACE_LEN = 1_000


class StepClock:
    """Times the beats of one step."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._marks = [time.perf_counter()]
        self._draft_s = 0.0

    def planned(self, draft_s: float) -> None:
        """The plan stands; a draft model took `draft_s` of the time since the last mark."""
        self._draft_s = draft_s
        self._marks.append(time.perf_counter())

    def executed(self) -> None:
        """Logits are there, and sampling begins."""
        self._marks.append(time.perf_counter())
        self._recorder.sample_s = 0.0
        self._recorder.begin_sampling()

    def committed(self) -> None:
        self._marks.append(time.perf_counter())

    def emitted(self, num_rows: int, num_prompt_tokens: int, num_waiting: int) -> StepTrace:
        """The end of the step: keeps and returns its trace."""
        self._marks.append(time.perf_counter())
        began, planned, executed, committed, emitted = self._marks
        sample_s = self._recorder.sample_s
        trace = StepTrace(
            started_s=time.time() - (emitted - began),
            num_rows=num_rows,
            num_prompt_tokens=num_prompt_tokens,
            num_waiting=num_waiting,
            plan_ms=1e3 * (planned - began - self._draft_s),
            execute_ms=1e3 * (executed - planned),
            sample_ms=1e3 * sample_s,
            commit_ms=1e3 * (committed - executed - sample_s),
            emit_ms=1e3 * (emitted - committed),
            draft_ms=1e3 * self._draft_s,
        )
        self._recorder.keep(trace)
        return trace


class Recorder:
    """The times of one engine's steps."""

    def __init__(self) -> None:
        self.step_began_s = 0.0
        self.sample_s = 0.0
        self._sampling_since_s = 0.0
        self._trace: deque[StepTrace] = deque(maxlen=_TRACE_LEN)
        self._due_s = 0.0
        self._changed = True

    def begin_step(self) -> StepClock:
        self.step_began_s = time.perf_counter()
        return StepClock(self)

    def begin_sampling(self) -> None:
        """It may begin again in a step, when guesses came true."""
        self._sampling_since_s = time.perf_counter()

    def end_sampling(self) -> None:
        self.sample_s += time.perf_counter() - self._sampling_since_s

    def keep(self, trace: StepTrace) -> None:
        self._trace.append(trace)
        self._changed = True

    @property
    def trace(self) -> tuple[StepTrace, ...]:
        return tuple(self._trace)

    def stats_if_due(self, scheduler: Scheduler) -> EngineStats | None:
        """The numbers, a few times a second while anything changes, and at once when everything has ended."""
        now = time.perf_counter()
        if not self._changed or (now < self._due_s and (scheduler.running or scheduler.waiting)):
            return None
        self._due_s = now + _STATS_EVERY_S
        self._changed = False
        return EngineStats(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_locked_tokens=scheduler.cache.num_locked_tokens,
            num_total_tokens=scheduler.cache.num_total_tokens,
            num_cached_tokens=scheduler.num_cached_tokens,
            num_preemptions=scheduler.num_preemptions,
            num_guessed_tokens=scheduler.num_guessed_tokens,
            num_true_tokens=scheduler.num_true_tokens,
        )
