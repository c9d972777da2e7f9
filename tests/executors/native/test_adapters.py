"""LoRA adapters of every family: what is computed beside the weights equals transformers with the adapter merged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import PlanError, UnsupportedModel
from publican.core.model import Adapter
from publican.core.step import Row, StepPlan
from publican.executors.native.config import NativeConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import load, objection
from publican.store.adapter import open_adapter
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import gguf_files, lora_files, tiny

CONFIG = NativeConfig(context_len=64, num_slots=6, num_pages=60, page_len=4, max_batch_tokens=160, max_logits=160)
FAMILIES = [n for n in tiny.MODELS if n not in ("mistral without window", "llama, many heads and wide ones")]


def tokens_of(seed: int, length: int = 30) -> list[int]:
    return np.random.default_rng(seed).integers(0, tiny.VOCAB, length).tolist()


def loaded(path: Path, *adapters: Adapter) -> NativeExecutor:
    return load(open_checkpoint(path), CONFIG, None, adapters)


def assert_close(got: np.ndarray, expected: np.ndarray, other: np.ndarray) -> None:
    """Equal within roundings of float32, and far from what another adapter, or none, would give."""
    close, far = np.abs(got - expected).max(), np.abs(expected - other).max()
    assert close < 5e-5 * max(1.0, np.abs(expected).max())
    assert far > 100 * close


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_of_every_family_mixed_in_one_batch(name: str, tmp_path: Path) -> None:
    """Two adapters of other ranks and modules, and none, side by side, in chunks: each as if it were merged and alone."""
    class_name, options = tiny.MODELS[name]
    model = tiny.make(class_name, **options)
    here = "self_attn" if hasattr(model.config, "num_experts_per_tok") else ""  # experts are not changed
    there = rf"layers.[02].*({here or 'mlp'}.*up_proj|v_proj|qkv|o_proj)"
    all_of_it = lora_files.adapter(tmp_path / "all", model, rank=4, seed=1, only=here)
    some = lora_files.adapter(tmp_path / "some", model, rank=20, seed=2, only=there, use_rslora=True)
    models = {0: model, 1: lora_files.merged(model, some.path), 2: lora_files.merged(model, all_of_it.path)}
    drive = Drive(loaded(tiny.save(model, tmp_path / "model"), all_of_it, some))
    drive.adapters = {1: 1, 2: 0}
    texts = {slot: tokens_of(slot) for slot in models}
    first = drive.step({slot: text[: 9 + slot] for slot, text in texts.items()}, num_logits=None)
    rest = drive.step({slot: texts[slot][9 + slot :] for slot in (2, 0, 1)}, num_logits=None)
    for slot, text in texts.items():
        expected, other = tiny.logits(models[slot], text), tiny.logits(models[(slot + 1) % 3], text)
        assert_close(np.concatenate([first[slot], rest[slot]]), expected, other)


def test_a_gguf_takes_an_adapter_of_the_original(tmp_path: Path) -> None:
    """The file has q and k shuffled; an adapter knows nothing of it."""
    model = tiny.make("Llama")
    adapter = lora_files.adapter(tmp_path / "some", model)
    drive = Drive(loaded(gguf_files.write(tmp_path / "tiny.gguf", model), adapter))
    drive.adapters = {0: 0}
    text = tokens_of(1)
    expected = tiny.logits(lora_files.merged(model, adapter.path), text)
    assert_close(drive.step({0: text}, num_logits=None)[0], expected, tiny.logits(model, text))


def test_values_of_sixteen_bits_and_alphas_of_single_modules(tmp_path: Path) -> None:
    model = tiny.make("Llama")
    arrays = lora_files.tensors(model, lora_files.targets(model), rank=4)
    patterns = {"down_proj": 3.5, "^model.layers.1.self_attn.q_proj": -2, r"layers\.2\.mlp\.up_proj": 0.0}
    for dtype in ("BF16", "F16"):
        path = lora_files.write(tmp_path / dtype, arrays, dtype, alpha_pattern=patterns)
        drive = Drive(loaded(tiny.save(model, tmp_path / "model"), open_adapter(path, "some")))
        drive.adapters = {0: 0}
        text = tokens_of(1)
        expected = tiny.logits(lora_files.merged(model, path), text)
        assert_close(drive.step({0: text}, num_logits=None)[0], expected, tiny.logits(model, text))


def test_a_step_without_adapters_is_what_it_is_without_them_loaded(tmp_path: Path) -> None:
    """To the last bit."""
    model = tiny.make("Llama")
    path = tiny.save(model, tmp_path / "model")
    text = tokens_of(1)
    alone = Drive(loaded(path)).step({0: text}, num_logits=None)[0]
    beside = Drive(loaded(path, lora_files.adapter(tmp_path / "some", model))).step({0: text}, num_logits=None)[0]
    assert np.array_equal(alone, beside)


def fit_problem(model: Any, tmp_path: Path, name: str, array: np.ndarray) -> str:
    arrays = lora_files.tensors(model, lora_files.targets(model)[:1]) | {name: array}
    half = name.replace("lora_A", "lora_B")
    if half != name and half not in arrays:
        arrays[half] = np.zeros((8, len(array)), np.float32)
    adapter = open_adapter(lora_files.write(tmp_path / "bad", arrays), "bad")
    checkpoint = open_checkpoint(tiny.save(model, tmp_path / "model"))
    with pytest.raises(UnsupportedModel) as error:
        load(checkpoint, CONFIG, None, [adapter])
    assert objection(checkpoint, [adapter]) == str(error.value)  # known from headers alone
    assert objection(checkpoint) is None
    return str(error.value)


@pytest.mark.parametrize(
    "module",
    [
        "lm_head",
        "model.embed_tokens",
        "model.layers.3.self_attn.q_proj",
        "model.layers.0.self_attn.qkv_proj",
        "model.layers.0.mlp.experts.1.up_proj",
        "vision_tower.layers.0.self_attn.q_proj",
        "transformer.h.0.attn.c_attn",
    ],
)
def test_what_the_model_has_not_is_refused_by_name(module: str, tmp_path: Path) -> None:
    name = f"base_model.model.{module}.lora_A.weight"
    text = fit_problem(tiny.make("Llama"), tmp_path, name, np.zeros((4, 32), np.float32))
    assert f"bad changes {module}, which this model has not" in text
    assert "org/tiny" in text


def test_another_width_is_refused_with_both(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    text = fit_problem(tiny.make("Llama"), tmp_path, name, np.zeros((4, 48), np.float32))
    assert "takes 48 numbers to 32 in it, and 32 to 32 in this model" in text


def test_a_row_of_an_adapter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    model = tiny.make("Llama")
    executor = loaded(tiny.save(model, tmp_path / "model"), lora_files.adapter(tmp_path / "some", model))
    assert executor.info.num_adapters == 1
    for number in (1, -2):
        drive = Drive(executor)
        drive.adapters = {0: number}
        with pytest.raises(PlanError, match="adapter"):
            drive.step({0: [1, 2]})
    plan = StepPlan((Row(0, [1], 0, 1, adapter=0),))
    with pytest.raises(PlanError, match="pages"):  # the adapter is fine
        executor.execute(plan)
