"""Every family against transformers in float32, through the real path: plans, pages, chunks and slots."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.executors.native.config import NativeConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import tiny

LENGTH = 45
CONFIG = NativeConfig(context_len=64, num_slots=6, num_pages=40, page_len=4, max_batch_tokens=128, max_logits=128)


@cache
def saved(name: str, folder: Path) -> tuple[Any, Path]:
    class_name, options = tiny.MODELS[name]
    model = tiny.make(class_name, **options)
    return model, tiny.save(model, folder / name.replace(" ", "-").replace(",", ""))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def tokens_of(seed: int, length: int = LENGTH) -> list[int]:
    return np.random.default_rng(seed).integers(0, tiny.VOCAB, length).tolist()


def loaded(path: Path, **changes: Any) -> NativeExecutor:
    return load(open_checkpoint(path), NativeConfig(**({f: getattr(CONFIG, f) for f in CONFIG.__slots__} | changes)))


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal within a few roundings of float32."""
    assert np.isfinite(expected).all()
    assert expected.std() > 0.1  # a model that says nothing proves nothing
    assert np.abs(got - expected).max() < 3e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", tiny.MODELS)
def test_one_shot_equals_transformers(name: str, folder: Path) -> None:
    model, path = saved(name, folder)
    tokens = tokens_of(1)
    got = Drive(loaded(path)).step({2: tokens}, num_logits=None)[2]
    assert_close(got, tiny.logits(model, tokens))


@pytest.mark.parametrize("name", tiny.MODELS)
def test_any_way_of_computing_it_equals_transformers(name: str, folder: Path) -> None:
    """Ragged chunks of several slots in one step, decoding beside them, shared pages, copied pages, cut tails."""
    model, path = saved(name, folder)
    rng = np.random.default_rng(len(name))
    first = tokens_of(2)
    second = first[:30] + tokens_of(3, 15)  # begins like the first, for seven whole pages and a half
    third = tokens_of(4)
    expected = {0: tiny.logits(model, first), 1: tiny.logits(model, second), 2: tiny.logits(model, third)}
    drive = Drive(loaded(path), seed=5)
    texts = {0: first, 2: third}
    got: dict[int, list[np.ndarray]] = {0: [], 1: [expected[1][:30]], 2: []}
    while texts:
        sizes = {slot: int(rng.choice([1, 1, 2, 5, 11])) for slot in texts}
        rows = {slot: text[drive.lengths.get(slot, 0) :][: sizes[slot]] for slot, text in texts.items()}
        for slot, logits in drive.step(rows, num_logits=None).items():
            got[slot].append(logits)
        if 1 not in drive.lengths and drive.lengths[0] >= 30:
            drive.share(0, 1, 30)
            texts[1] = second
        texts = {slot: text for slot, text in texts.items() if drive.lengths[slot] < LENGTH}
    for slot, parts in got.items():
        assert_close(np.concatenate(parts), expected[slot])
    drive.truncate(2, 18)
    drive.truncate(1, 21)  # within a page that slot 0 reads
    again = drive.step({1: second[21:], 2: third[18:], 0: [5]}, num_logits=None)
    assert_close(again[1], expected[1][21:])
    assert_close(again[2], expected[2][18:])
    assert_close(again[0], tiny.logits(model, [*first, 5])[-1:])


@pytest.mark.parametrize("kind", [k for k in tiny.ROPES if k != "none"])
def test_every_scaling_of_positions_equals_transformers(kind: str, tmp_path: Path) -> None:
    """Settled by the loaded context; transformers goes by the sequence, so both are as long as can be."""
    length = 32 if kind == "dynamic" else 64
    model = tiny.make("Llama", rope_parameters=tiny.ROPES[kind] | {"rope_theta": 1e4}, max_position_embeddings=length)
    path = tiny.save(model, tmp_path)
    tokens = tokens_of(6, 64)
    assert_close(Drive(loaded(path, context_len=64)).step({0: tokens}, num_logits=None)[0], tiny.logits(model, tokens))


def test_longrope_is_short_in_a_short_context(tmp_path: Path) -> None:
    model = tiny.make("Phi3", rope_parameters=tiny.ROPES["longrope"] | {"rope_theta": 1e4}, original_max_position_embeddings=32)
    path = tiny.save(model, tmp_path)
    for length in (32, 64):
        tokens = tokens_of(7, length)
        got = Drive(loaded(path, context_len=length)).step({0: tokens}, num_logits=None)[0]
        assert_close(got, tiny.logits(model, tokens))


def test_configs_in_the_words_of_transformers_4(folder: Path, tmp_path: Path) -> None:
    """`rope_theta`, `rope_scaling` and `sliding_window_pattern`, as most files on the hub have them."""
    model, path = saved("gemma3", folder)
    config = json.loads((path / "config.json").read_text())
    for key in ("rope_parameters", "layer_types"):
        del config[key]
    config |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    config["sliding_window_pattern"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    tokens = tokens_of(8)
    assert_close(Drive(loaded(tmp_path)).step({0: tokens}, num_logits=None)[0], tiny.logits(model, tokens))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files(dtype: str, tmp_path: Path) -> None:
    import torch
    import transformers

    path = tiny.save(tiny.make("Llama").to(getattr(torch, dtype)), tmp_path)
    model = transformers.LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    tokens = tokens_of(9)
    assert_close(Drive(loaded(path)).step({0: tokens}, num_logits=None)[0], tiny.logits(model, tokens))


def test_a_model_in_many_files(tmp_path: Path) -> None:
    model = tiny.make("Llama")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    tokens = tokens_of(12)
    assert_close(Drive(loaded(tmp_path)).step({0: tokens}, num_logits=None)[0], tiny.logits(model, tokens))


def test_hidden_states_are_what_goes_into_the_output(folder: Path) -> None:
    import torch

    model, path = saved("llama", folder)
    tokens = tokens_of(10)
    drive = Drive(loaded(path))
    result = drive.executor.execute(drive.plan({0: tokens, 1: tokens[:7]}, num_logits=1, num_hidden=2))
    with torch.no_grad():
        expected = model.model(torch.tensor([tokens])).last_hidden_state[0].numpy()
    assert result.hidden is not None
    assert_close(result.hidden, np.concatenate([expected[-2:], expected[5:7]]))


def test_a_model_that_also_sees(folder: Path, tmp_path: Path) -> None:
    """The language part of a Gemma 3 that sees has its own section and its own root."""
    from safetensors.numpy import load_file, save_file

    model, path = saved("gemma3", folder)
    inner = json.loads((path / "config.json").read_text())
    tensors = load_file(path / "model.safetensors")
    moved = {f"language_model.{name}": array for name, array in tensors.items()}
    moved["vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"] = np.zeros((2, 2), np.float32)
    save_file(moved, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": inner}))
    tokens = tokens_of(11)
    assert_close(Drive(loaded(tmp_path)).step({0: tokens}, num_logits=None)[0], tiny.logits(model, tokens))
