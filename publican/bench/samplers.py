"""Times the sampling pipeline and peers' samplers: microseconds per step over batch sizes, vocabularies, stacks, in one run.

A step is what an engine does between logits and tokens: every penalty over the text so far, the cuts, the draw, and the
bookkeeping of the drawn token. Candidates take turns on the same logits, so that a noisy minute meets all of them. Runs on
the calling thread.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from publican.bench.sampler_peers import LlamaChain, Logits, Peer, Text, TransformersProcessors, has_llama, has_transformers
from publican.core.executor import Top
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import ORDERS
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.executors.native.cpu.library import Engine, LibraryMissing, load_library

NUMPY, CPU, TORCH = "publican numpy", "publican cpu", "publican torch"
CANDIDATES = (NUMPY, CPU, TORCH, LlamaChain.name, TransformersProcessors.name)
_WARM_UP = 2
_MIN_STEPS, _MAX_STEPS = 3, 200
_RANKS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 300, 1_000, 3_000, 10_000, 30_000, 49_151)
_DEPTHS = (0.0, 1.3, 2.2, 2.8, 3.6, 4.8, 6.2, 7.9, 9.2, 11.3, 13.8, 16.3, 19.5, 23.9, 42.7)
"""By how much the logit of a rank lies below the best."""

STACKS: dict[str, SamplingParams] = {
    "greedy": SamplingParams(temperature=0.0),
    "neutral": SamplingParams(),
    "llama.cpp's default": SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, order=ORDERS["llamacpp"]),
    "top_p": SamplingParams(temperature=0.8, top_p=0.95),
    "chat": SamplingParams(
        temperature=0.8,
        min_p=0.05,
        repetition_penalty=1.1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        dry_multiplier=0.8,
        dry_sequence_breakers=(),
    ),
}
"""What is timed; "chat" is penalties, DRY, min_p and temperature."""


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """What to time.

    Attributes:
        stacks: names in `STACKS`.
        context_len: tokens that are there already, for penalties and DRY.
        seconds: how long one candidate may take for one case, about.
        candidates: of `CANDIDATES`; those that are not installed are left out. "publican cpu" is NumPy with the C++ library's
            `top`, as `native` has it.
        threads: of torch; 1 is what the others use.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    vocab_sizes: tuple[int, ...] = (32_000, 49_152, 128_256, 262_144)
    stacks: tuple[str, ...] = tuple(STACKS)
    context_len: int = 1_000
    seconds: float = 0.3
    candidates: tuple[str, ...] = CANDIDATES
    threads: int = 1


@dataclass(frozen=True, slots=True)
class SamplerTime:
    """One candidate in one case: the median and the best of its steps, in seconds; `leaves_out` of the stack it lacks."""

    candidate: str
    median_s: float
    best_s: float
    num_steps: int
    leaves_out: str = ""


@dataclass(frozen=True, slots=True)
class SamplerCase:
    stack: str
    vocab_size: int
    batch_size: int
    times: tuple[SamplerTime, ...]


@dataclass(frozen=True, slots=True)
class SamplerReport:
    config: SamplerConfig
    cases: tuple[SamplerCase, ...] = field(default=())


class _Publican:
    """The pipeline as one of the candidates."""

    leaves_out = ""

    def __init__(self, name: str, params: SamplingParams, vocab_size: int, texts: Sequence[Text]) -> None:
        self.name = name
        self._convert = importlib.import_module("torch").from_numpy if name == TORCH else np.asarray
        self._pipeline = Pipeline(Vocabulary((b"?",) * vocab_size), cpu_top() if name == CPU else None)
        rows = [self._pipeline.add(replace(params, seed=seed), text) for seed, text in enumerate(texts)]
        self._draws = [Draw(row, i) for i, row in enumerate(rows)]

    def step_s(self, logits: Logits, texts: Sequence[Text]) -> float:
        array = self._convert(logits)
        begin = time.perf_counter()
        choices = self._pipeline.sample(array, self._draws)
        for text, choice in zip(texts, choices, strict=True):
            text.append(choice.token)
        return time.perf_counter() - begin

    def close(self) -> None:
        pass


def time_samplers(config: SamplerConfig) -> Iterator[SamplerCase]:
    """The cases one by one, as they are done; `SamplerReport(config, tuple(cases))` is the whole.

    Sets torch's number of threads, where torch is there, to `config.threads`.
    """
    if has_transformers():
        importlib.import_module("torch").set_num_threads(config.threads)
    for vocab_size in config.vocab_sizes:
        for batch_size in config.batch_sizes:
            logits = logits_like_a_model(4, batch_size, vocab_size)
            for stack in config.stacks:
                yield SamplerCase(stack, vocab_size, batch_size, tuple(_time_case(config, STACKS[stack], logits)))


def _time_case(config: SamplerConfig, params: SamplingParams, logits: Logits) -> Iterator[SamplerTime]:
    """Every candidate in turn, step by step."""
    _, num_rows, vocab_size = logits.shape
    text = _text(config.context_len, vocab_size)
    running: list[tuple[Peer, list[Text], list[float]]] = []
    for name in config.candidates:
        texts = [list(text) for _ in range(num_rows)]
        candidate = _candidate(name, params, vocab_size, texts)
        if candidate is not None:
            running.append((candidate, texts, []))
    for step in range(_WARM_UP + _MAX_STEPS):
        for candidate, texts, times in running:
            if len(times) < _WARM_UP + _MIN_STEPS or sum(times) < config.seconds:
                times.append(candidate.step_s(logits[step % len(logits)].copy(), texts))
    for candidate, _, times in running:
        candidate.close()
        counted = times[_WARM_UP:]
        yield SamplerTime(candidate.name, statistics.median(counted), min(counted), len(counted), candidate.leaves_out)


def _candidate(name: str, params: SamplingParams, vocab_size: int, texts: Sequence[Text]) -> Peer | None:
    """A candidate set up for this stack, or None where it is not installed."""
    if name == LlamaChain.name:
        return LlamaChain(params, vocab_size, texts) if has_llama() else None
    if name == TransformersProcessors.name:
        return TransformersProcessors(params, texts) if has_transformers() else None
    if (name == TORCH and not has_transformers()) or (name == CPU and cpu_top() is None):
        return None
    return _Publican(name, params, vocab_size, texts)


def cpu_top() -> Top | None:
    """What `native` on the CPU has; None where it is not compiled."""
    try:
        return Engine(load_library(), 1).top
    except LibraryMissing:
        return None


def _text(length: int, vocab_size: int) -> Text:
    """Tokens as unevenly spread as those of a text, and now and then in the same order again."""
    rng = np.random.default_rng(length)
    tokens = np.minimum(rng.zipf(1.3, length), vocab_size - 1)
    for _ in range(length // 100):
        start, to = rng.integers(0, max(1, length - 12), 2)
        tokens[to : to + 12] = tokens[start : start + 12]
    return [TokenId(token) for token in tokens.tolist()]


def logits_like_a_model(num_steps: int, num_rows: int, vocab_size: int) -> Logits:
    """Made-up logits, float32 [num_steps, num_rows, vocab_size], that fall from the best one as a small chat model's do.

    `_DEPTHS` are medians over SmolLM2-135M's steps in four chats at temperature 0.8; rows differ in how sure they are as its
    rows do.
    """
    rng = np.random.default_rng(vocab_size + num_rows)
    ranks = np.log1p(np.arange(vocab_size)) * (np.log1p(_RANKS[-1]) / np.log1p(max(vocab_size - 1, 1)))
    depths = np.interp(ranks, np.log1p(_RANKS), _DEPTHS)
    growing = np.minimum(ranks, 1.0)
    logits = np.empty((num_steps, num_rows, vocab_size), np.float32)
    for step in logits:
        for row in step:
            surer = rng.gamma(2.0, 2.0) - 3.5
            row[rng.permutation(vocab_size)] = 20.0 - np.maximum(depths + surer * growing, 0.1 * ranks)
    return logits
