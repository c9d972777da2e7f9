"""From a wish about context to logits: what `fit` settles, an executor loads, and transformers computes of the same weights."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.executors.native.cpu.library import LibraryMissing, load_library
from publican.hardware.machine import read_machine
from publican.host import executor_for
from publican.host.choose import Chosen
from publican.host.choose_rope import RopeWish, auto_alpha
from publican.host.fake import fake_spec
from publican.host.fit import fit
from publican.host.fit_shape import shape_model
from publican.host.options import LoadOptions, WorkerSpec
from publican.host.tokenizer import load_tokenizer
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import tiny

NATIVE_LEN, LONG_LEN = 128, 256
THETA = 10_000.0
TOKENS = [int(token) for token in np.random.default_rng(5).integers(0, tiny.VOCAB, LONG_LEN)]
CASES: dict[str, tuple[RopeWish, dict[str, Any]]] = {
    "linear": (RopeWish(scaling="linear"), {"rope_type": "linear", "factor": 2.0}),
    "factor alone": (RopeWish(factor=3.0), {"rope_type": "linear", "factor": 3.0}),
    "dynamic": (RopeWish(scaling="dynamic", factor=2.5), {"rope_type": "dynamic", "factor": 2.5}),
    "yarn": (
        RopeWish(scaling="yarn"), {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": NATIVE_LEN}
    ),
    "yarn, further": (
        RopeWish(scaling="yarn", factor=8.0),
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": NATIVE_LEN},
    ),
    "alpha": (RopeWish(alpha=2.6), {"rope_type": "default", "rope_theta": THETA * 2.6 ** (8 / 6)}),
    "nothing asked": (RopeWish(), {"rope_type": "default", "rope_theta": THETA * auto_alpha(2) ** (8 / 6)}),
}  # fmt: skip


def worker_spec(path: Path, loader: str, backend: str, options: LoadOptions) -> WorkerSpec:
    """As `ModelLibrary.open_model` makes one, of a model that has no tokenizer."""
    checkpoint = open_checkpoint(path)
    chosen = Chosen(loader, backend, "")
    it = fit(shape_model(checkpoint), chosen, options, read_machine())
    return replace(
        fake_spec(),
        loader=loader,
        backend=backend,
        checkpoint=checkpoint,
        context_len=it.context_len,
        num_tokens=it.num_tokens,
        num_slots=2,
        max_running=256,
        max_batch_tokens=512,
        threads=2,
        rope=it.rope,
        kv_type=it.kv_type,
    )


def run(spec: WorkerSpec, tokens: list[int], num_logits: int | None = None) -> np.ndarray:
    executor = executor_for.build(spec, lambda done, total: None)
    try:
        return Drive(executor).step({0: tokens}, num_logits)[0]
    finally:
        executor.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.make("Llama", max_position_embeddings=NATIVE_LEN), tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("name", CASES)
def test_a_wish_gives_what_transformers_computes(folder: Path, name: str):
    wish, parameters = CASES[name]
    spec = worker_spec(folder, "native", "plain", LoadOptions(context_len=LONG_LEN, num_users=1, rope=wish))
    ours = run(spec, TOKENS)
    rope = {"rope_theta": THETA} | parameters
    theirs = tiny.logits(tiny.make("Llama", max_position_embeddings=NATIVE_LEN, rope_parameters=rope), TOKENS)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)
    unscaled = run(replace(spec, rope=None), TOKENS)
    assert np.abs(unscaled[-1] - theirs[-1]).max() > 0.05  # so that the test would notice if nothing were stretched


def test_libllama_is_told_the_same(default_model: Path):
    pytest.importorskip("llama_cpp")
    _require_cpu_library()
    tokens = [int(token) for token in load_tokenizer(open_checkpoint(default_model)).encode(_text()[2_000:4_000])][:128]
    options = LoadOptions(context_len=512, num_users=1, rope=RopeWish(factor=4.0))
    theirs = worker_spec(default_model, "llama", "auto", options)
    ours = run(worker_spec(default_model, "native", "cpu", options), tokens, 64)
    assert _divergence(ours, run(theirs, tokens, 64)) < 0.05
    assert _divergence(ours, run(replace(theirs, rope=None), tokens, 64)) > 0.2


@pytest.mark.slow
def test_the_default_model_reads_on_beyond_its_context(default_model: Path):
    """Made for 8,192 tokens, loaded with ``--ctx 16384``. Without scaling its perplexity here is above 12, with it 5."""
    _require_cpu_library()
    options = LoadOptions(context_len=16_384, num_users=1)
    spec = worker_spec(default_model, "native", "cpu", options)
    assert spec.rope is not None
    tokens = [int(token) for token in load_tokenizer(open_checkpoint(default_model)).encode(_text())][:11_777]
    executor = executor_for.build(spec, lambda done, total: None)
    drive, losses = Drive(executor), []
    try:
        for start in range(0, 11_776, 512):
            is_beyond = start >= 10_752
            logits = drive.step({0: tokens[start : start + 512]}, None if is_beyond else 1)[0]
            assert np.isfinite(logits).all()
            if is_beyond:
                following = np.array(tokens[start + 1 : start + 513])
                losses.append(-_log_softmax(logits)[np.arange(512), following])
    finally:
        executor.close()
    assert np.exp(np.concatenate(losses).mean()) < 7


def _require_cpu_library() -> None:
    try:
        load_library()
    except LibraryMissing:
        pytest.skip("the C++ operations are not built here")


def _text() -> str:
    """A hundred thousand characters that every Python has."""
    return Path(argparse.__file__).read_text()


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _divergence(a: np.ndarray, b: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the distributions that logits mean."""
    p, q = _log_softmax(a), _log_softmax(b)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())
