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
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import ORDERS
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.pipeline import Draw, Pipeline

NUMPY, TORCH = "publican numpy", "publican torch"
CANDIDATES = (NUMPY, TORCH, LlamaChain.name, TransformersProcessors.name)
_WARM_UP = 2
_MIN_STEPS, _MAX_STEPS = 3, 200

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
        candidates: of `CANDIDATES`; those that are not installed are left out.
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
        self._pipeline = Pipeline(Vocabulary((b"?",) * vocab_size))
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
    if name == TORCH and not has_transformers():
        return None
    return _Publican(name, params, vocab_size, texts)


def _text(length: int, vocab_size: int) -> Text:
    """Tokens as unevenly spread as those of a text, and now and then in the same order again."""
    rng = np.random.default_rng(length)
    tokens = np.minimum(rng.zipf(1.3, length), vocab_size - 1)
    for _ in range(length // 100):
        start, to = rng.integers(0, max(1, length - 12), 2)
        tokens[to : to + 12] = tokens[start : start + 12]
    return [TokenId(token) for token in tokens.tolist()]


def logits_like_a_model(num_steps: int, num_rows: int, vocab_size: int) -> Logits:
    """Made-up logits with the spread of a small chat model's: SmolLM2-135M has a deviation of 3, the best 15 above the mean.

    Some rows are sure of their token and some are not. float32 [num_steps, num_rows, vocab_size].
    """
    rng = np.random.default_rng(vocab_size + num_rows)
    logits = rng.standard_normal((num_steps, num_rows, vocab_size), dtype=np.float32) * np.float32(2.5)
    for step in logits:
        for row in step:
            best = rng.integers(0, vocab_size, 60)
            row[best] = rng.uniform(6.0, 14.0) - np.log1p(np.arange(60)) * rng.uniform(0.5, 3.0)
    return logits
