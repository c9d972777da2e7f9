"""Executors of libllama on files of a few thousand weights. Skipped where the extra is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from publican.executors.llama import LlamaConfig, load
from publican.executors.llama.executor import LlamaExecutor
from tests.executors.llama.tiny import write_gemma, write_llama, write_mamba

pytest.importorskip("llama_cpp", reason="libllama is an optional extra: pip install 'publican[llama]'")

WRITERS = {"llama": write_llama, "gemma": write_gemma, "mamba": write_mamba}

Open = Callable[..., LlamaExecutor]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return {name: write(folder / f"{name}.gguf") for name, write in WRITERS.items()}


@pytest.fixture
def open_tiny(tiny_models: dict[str, Path]) -> Iterator[Open]:
    """Opens a tiny model with changes to a small configuration; closed when the test ends."""
    opened: list[LlamaExecutor] = []

    def open_model(name: str = "llama", **changes: Any) -> LlamaExecutor:
        opened.append(load(tiny_models[name], tiny_config(**changes)))
        return opened[-1]

    yield open_model
    for executor in opened:
        executor.close()


def tiny_config(**changes: Any) -> LlamaConfig:
    """Float32 throughout: with flash attention libllama rounds keys and values to f16 whatever they are kept in."""
    usual: dict[str, Any] = {
        "context_len": 256,
        "num_cells": 1024,
        "num_slots": 8,
        "max_batch_tokens": 128,
        "micro_batch_tokens": 32,
        "max_logits": 40,
        "kv_dtype": "f32",
        "flash_attention": False,
        "num_threads": 1,
    }
    return LlamaConfig(**(usual | changes))
