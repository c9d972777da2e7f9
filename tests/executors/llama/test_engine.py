"""The engine on libllama with the default model: greedy text is the same however it comes about.

Keys and values are bf16, for which libllama's CPU kernels compute every row by itself. With f16, its default, it takes
other kernels for one token, for a few and for 64, whose results differ by rounding, and greedy text with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import OutOfMemory
from publican.core.events import Finished
from publican.core.executor import Cells, StepResult
from publican.core.ids import RequestId, TokenId
from publican.core.step import Free, Row, StepPlan
from publican.core.tokenizer import Vocabulary
from publican.engine.job import Close
from publican.executors.llama import LlamaConfig, load
from publican.executors.llama.executor import LlamaExecutor
from tests.executors.llama.drive import LlamaDriver, read_vocabulary, tokenize

MAX_TOKENS = 20
CARD = "You are Mirela, who keeps the Drowned Lantern, a tavern by the sea. You are warm, and know every rumour. "
QUESTIONS = [
    "What is the capital of France?",
    "Write a short story about a dragon.",
    "Explain how rain forms.",
    "List three fruits and why you like them.",
    "Who are you?",
    "Describe a tavern at night.",
    "What is 12 times 3?",
    "Translate 'good morning' to Spanish.",
]


def chat(question: str, system: str = CARD) -> str:
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def opened(path: Path, **changes: Any) -> LlamaExecutor:
    # One thread: on a busy machine two of libllama's wait for each other, spinning.
    usual: dict[str, Any] = {"context_len": 512, "num_cells": 2048, "num_slots": 16, "kv_dtype": "bf16", "num_threads": 1}
    return load(path, LlamaConfig(**(usual | changes)))


@pytest.fixture(scope="module")
def executor(default_model: Path) -> Iterator[LlamaExecutor]:
    executor = opened(default_model)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def vocabulary(executor: LlamaExecutor) -> Vocabulary:
    return read_vocabulary(executor)


@pytest.fixture(scope="module")
def prompts(executor: LlamaExecutor) -> list[tuple[TokenId, ...]]:
    return [tokenize(executor, chat(question)) for question in QUESTIONS]


@pytest.fixture(scope="module")
def alone(executor, vocabulary, prompts) -> list[str]:
    """Each answer by itself, with an empty cache."""
    return [LlamaDriver(executor, vocabulary).answer([prompt], MAX_TOKENS)[0] for prompt in prompts]


def test_it_speaks(alone):
    assert all(len(text.split()) > 5 for text in alone)
    assert len(set(alone)) == len(alone)


def test_alone_and_in_a_batch_of_eight_with_a_shared_card(executor, vocabulary, prompts, alone):
    driver = LlamaDriver(executor, vocabulary)
    assert driver.answer(prompts, MAX_TOKENS) == alone
    assert driver.engine.scheduler.num_cached_tokens > 7 * 20


def test_again_out_of_the_cache(executor, vocabulary, prompts, alone):
    driver = LlamaDriver(executor, vocabulary)
    driver.answer(prompts[:4], MAX_TOKENS)
    before = driver.engine.scheduler.num_cached_tokens
    assert driver.answer(prompts[:4], MAX_TOKENS) == alone[:4]
    assert driver.engine.scheduler.num_cached_tokens - before == sum(len(prompt) - 1 for prompt in prompts[:4])


def test_in_so_little_memory_that_some_are_put_back(default_model, vocabulary, alone, prompts):
    cramped = opened(default_model, context_len=256, num_cells=256)
    driver = LlamaDriver(cramped, vocabulary)
    assert driver.answer(prompts, MAX_TOKENS) == alone
    assert driver.engine.scheduler.num_preemptions > 0
    cramped.close()


def test_on_a_thread_of_its_own(default_model, vocabulary, alone, prompts):
    executor = opened(default_model)
    driver = LlamaDriver(executor, vocabulary)
    thread = threading.Thread(target=driver.engine.run, daemon=True)
    thread.start()
    ids = []
    for prompt in prompts:
        ids.append(driver.submit_tokens(prompt, MAX_TOKENS))
        time.sleep(0.02)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all(is_finished(driver, id) for id in ids):
        time.sleep(0.02)
    driver.engine.inbox.put(Close())
    thread.join(60)
    assert [driver.answers[id].text() for id in ids] == alone


def is_finished(driver: LlamaDriver, id: RequestId) -> bool:
    answer = driver.answers.get(id)
    return answer is not None and isinstance(answer.events[-1], Finished)


def test_when_the_library_has_less_room_than_the_books_say(default_model, vocabulary, alone, prompts):
    """libllama itself says that it is full, in the middle of the work, and nobody's answer changes."""
    cramped = opened(default_model, context_len=256, num_cells=256)
    cramped.info = replace(cramped.info, memory=Cells(2048))
    driver = LlamaDriver(cramped, vocabulary)
    refused = count_refusals(cramped)
    assert driver.answer(prompts, MAX_TOKENS) == alone
    assert refused
    cramped.close()


def count_refusals(executor: LlamaExecutor) -> list[OutOfMemory]:
    """Fills as `executor` runs out of cells."""
    refused: list[OutOfMemory] = []
    execute = executor.execute

    def watched(plan: StepPlan) -> StepResult:
        try:
            return execute(plan)
        except OutOfMemory as error:
            refused.append(error)
            raise

    executor.execute = watched
    return refused


def test_with_f16_a_batch_is_within_rounding(default_model, prompts):
    """Kullback-Leibler divergence between the next token's distributions, computed alone and among others."""
    executor = opened(default_model, kv_dtype="auto")
    together = executor.execute(StepPlan(tuple(Row(i, prompt, 0, 1) for i, prompt in enumerate(prompts[:4])))).logits.copy()
    for i, prompt in enumerate(prompts[:4]):
        single = executor.execute(StepPlan((Row(8, prompt, 0, 1),), (Free(8),))).logits[0].copy()
        assert divergence(single, together[i]) < 0.05
    executor.close()


def divergence(a: np.ndarray, b: np.ndarray) -> float:
    p, q = log_softmax(a), log_softmax(b)
    return float((np.exp(p) * (p - q)).sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
