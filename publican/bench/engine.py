"""How long a step takes in an executor alone, and what the engine around it adds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from publican.bench.engine_times import EngineTimer
from publican.bench.executor_times import ExecutorTimer, some_tokens
from publican.bench.metrics import Spread
from publican.core.errors import SettingsError
from publican.core.executor import Executor
from publican.core.sampling import SamplingParams
from publican.engine.job import StepTrace

_MAX_STEPS = 500  # an engine's trace holds a thousand

MakeExecutor = Callable[[], Executor]
Progress = Callable[[str], None]
"""Called with what is about to be measured."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What is measured.

    Attributes:
        batch_sizes: sequences that are given a token in one step.
        context_len: tokens that each of them holds before the first such step.
        prompt_len: tokens of the prompts whose computing is timed, and whose second time comes from the prefix cache.
        num_steps: steps for each batch size, by which contexts grow; num_repeats: prompts.
        newcomer_len: tokens of a prompt that arrives while four answers are running; 0 leaves it out.
        sampling: what the engine samples with; the executor alone does not sample.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    context_len: int = 512
    prompt_len: int = 512
    num_steps: int = 32
    num_repeats: int = 3
    newcomer_len: int = 4_000
    sampling: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0.8, top_k=40, top_p=0.95, seed=1))

    def __post_init__(self) -> None:
        if not self.batch_sizes or not all(1 <= size <= 1_024 for size in self.batch_sizes):
            raise SettingsError(f"batch_sizes must hold numbers from 1 to 1,024, got {self.batch_sizes}.")
        for name, least in {"context_len": 1, "prompt_len": 2, "num_steps": 2, "num_repeats": 1, "newcomer_len": 0}.items():
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be {least} or more, got {getattr(self, name)}.")
        if self.num_steps > _MAX_STEPS:
            raise SettingsError(f"num_steps can be {_MAX_STEPS} at most, got {self.num_steps:,}.")
        if self.sampling.seed is None:
            raise SettingsError("sampling needs a seed, so that every run draws the same.")


@dataclass(frozen=True, slots=True)
class DecodeTimes:
    """One batch size. Seconds; the beats are medians of the engine's own trace.

    Attributes:
        alone_s: a step of the executor by itself.
        step_s: a step of the engine; execute_s: the executor's part of it, as the engine saw it.
        plan_s, sample_s, commit_s, emit_s: the engine's own part of it.
    """

    batch_size: int
    alone_s: Spread
    step_s: Spread
    execute_s: float
    plan_s: float
    sample_s: float
    commit_s: float
    emit_s: float

    @property
    def added_s(self) -> float:
        return self.plan_s + self.sample_s + self.commit_s + self.emit_s

    @property
    def overhead(self) -> float:
        """What the engine adds, as a share of the executor's time in the same steps."""
        return self.added_s / self.execute_s


@dataclass(frozen=True, slots=True)
class PromptTimes:
    """Medians, in seconds, for prompts of `length` tokens.

    Attributes:
        alone_s: computed by the executor by itself.
        first_token_s: in the engine, from submitting to the first token.
        hit_s: the same prompt again; decode_s: an ordinary step at batch 1, to compare it with.
    """

    length: int
    alone_s: float
    first_token_s: float
    hit_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class NewcomerTimes:
    """What a prompt of `length` tokens did to `num_running` others: their steps before and during, and what its chunks took.

    Attributes:
        chunk_tokens: median of the tokens it got in a step.
        chunk_s: how much longer the executor took for it, median and worst.
    """

    length: int
    num_running: int
    before_s: Spread
    during_s: Spread
    chunk_tokens: float
    chunk_s: Spread


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What a run gave. `left_out` says what was not measured, and why; `began` is seconds since 1970."""

    config: EngineConfig
    loader: str
    device: str
    began: float
    decode: tuple[DecodeTimes, ...]
    prompt: PromptTimes
    newcomer: NewcomerTimes | None
    left_out: tuple[str, ...]


def bench_engine(
    make_executor: MakeExecutor,
    config: EngineConfig | None = None,
    progress: Progress | None = None,
) -> EngineReport:
    """Time one executor alone, then another of the same kind with an engine around it.

    They are made one after the other: two teams of compute threads would be in each other's way.

    Raises:
        SettingsError: there is no room for even one sequence of the lengths asked for.
    """
    config = config or EngineConfig()
    tell = progress or (lambda text: None)
    began = time.time()
    alone = _Alone.measure(make_executor, config, tell)
    executor = make_executor()
    try:
        timer = EngineTimer(executor, config.sampling, max(config.batch_sizes))
        decode = []
        for size, steps in alone.decode.items():
            tell(f"engine, batch {size}")
            decode.append(_decode_times(size, steps, timer.decode(size, config.context_len, config.num_steps)))
        tell(f"engine, prompts of {config.prompt_len}")
        prompt = _prompt_times(timer, alone.prefill_s, config)
        newcomer, why_not = _newcomer_times(timer, executor, config, tell)
        info = executor.info
        return EngineReport(
            config, info.loader, info.device, began, tuple(decode), prompt, newcomer, (*alone.left_out, *why_not)
        )
    finally:
        executor.close()


@dataclass(frozen=True, slots=True)
class _Alone:
    prefill_s: float
    decode: dict[int, list[float]]
    left_out: tuple[str, ...]

    @classmethod
    def measure(cls, make_executor: MakeExecutor, config: EngineConfig, tell: Progress) -> _Alone:
        executor = make_executor()
        try:
            room_len = max(config.context_len, config.prompt_len) + (2 + len(config.batch_sizes)) * (config.num_steps + 2)
            if room_len > executor.info.context_len:
                raise SettingsError(
                    f"A context of {executor.info.context_len:,} tokens has no room for {room_len:,}; "
                    "ask for shorter prompts or fewer steps."
                )
            timer = ExecutorTimer(executor, room_len)
            fits = timer.num_that_fit()
            if fits < 1:
                raise SettingsError(f"There is no room for one sequence of {room_len:,} tokens.")
            left_out = tuple(f"batch {size}: there is room for {fits}" for size in config.batch_sizes if size > fits)
            tell(f"executor alone, prompts of {config.prompt_len}")
            timer.prefill_s(config.prompt_len, seed=-100)  # what is done once is not counted
            prefill = [timer.prefill_s(config.prompt_len, seed=-101 - i) for i in range(config.num_repeats)]
            decode = {}
            for size in sorted({size for size in config.batch_sizes if size <= fits}):
                tell(f"executor alone, batch {size}")
                decode[size] = timer.decode_s(size, config.context_len, config.num_steps)
            return cls(statistics.median(prefill), decode, left_out)
        finally:
            executor.close()


def _decode_times(batch_size: int, alone_s: Sequence[float], steps: Sequence[StepTrace]) -> DecodeTimes:
    return DecodeTimes(
        batch_size,
        _spread(alone_s),
        _spread([step_s(step) for step in steps]),
        execute_s=_median_ms(steps, "execute_ms"),
        plan_s=_median_ms(steps, "plan_ms"),
        sample_s=_median_ms(steps, "sample_ms"),
        commit_s=_median_ms(steps, "commit_ms"),
        emit_s=_median_ms(steps, "emit_ms"),
    )


def _prompt_times(timer: EngineTimer, alone_s: float, config: EngineConfig) -> PromptTimes:
    cold, hits = [], []
    for i in range(config.num_repeats):
        prompt = some_tokens(-200 - i, config.prompt_len, timer.info.vocab_size)
        cold.append(timer.first_token_s(prompt))
        hits += [timer.first_token_s(prompt) for _ in range(3)]
    ordinary = timer.decode(1, config.prompt_len, config.num_steps)
    decode_s = statistics.median(step_s(step) for step in ordinary)
    return PromptTimes(config.prompt_len, alone_s, statistics.median(cold), statistics.median(hits), decode_s)


def _newcomer_times(
    timer: EngineTimer, executor: Executor, config: EngineConfig, tell: Progress, num_running: int = 4
) -> tuple[NewcomerTimes | None, tuple[str, ...]]:
    if not config.newcomer_len:
        return None, ()
    info = executor.info
    others_len = config.context_len + (3 + len(config.batch_sizes)) * config.num_steps + config.newcomer_len // 16
    length = min(config.newcomer_len, info.context_len - 1, info.memory.num_tokens - num_running * others_len)
    if length < 2 * info.max_batch_tokens or num_running >= info.num_slots or others_len > info.context_len:
        return None, (f"a newcomer of {config.newcomer_len:,} tokens: there is no room for one of some length",)
    tell(f"engine, a newcomer of {length}")
    before, during = timer.newcomer(num_running, config.context_len, length, config.num_steps)
    usual_s = _median_ms(before, "execute_ms")
    return NewcomerTimes(
        length,
        num_running,
        _spread([step_s(step) for step in before]),
        _spread([step_s(step) for step in during]),
        chunk_tokens=statistics.median(step.num_prompt_tokens for step in during),
        chunk_s=_spread([step.execute_ms / 1e3 - usual_s for step in during]),
    ), ()


def step_s(step: StepTrace) -> float:
    """A whole step, from deciding to the last event."""
    return (step.plan_ms + step.draft_ms + step.execute_ms + step.sample_ms + step.commit_ms + step.emit_ms) / 1e3


def _median_ms(steps: Sequence[StepTrace], name: str) -> float:
    return float(statistics.median(getattr(step, name) for step in steps)) / 1e3


def _spread(values: Sequence[float]) -> Spread:
    spread = Spread.of(values)
    assert spread is not None
    return spread
