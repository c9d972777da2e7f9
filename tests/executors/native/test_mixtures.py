"""Mixtures of experts as files have them: apart, side by side, quantised one by one, and damaged."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import TensorInfo
from publican.executors.native.config import NativeConfig
from publican.executors.native.experts_apart import experts_apart
from publican.executors.native.loading import load
from publican.hardware.weights import weights_of
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import gguf_files, tiny
from tests.executors.native.words import across, down

CONFIG = NativeConfig(context_len=64, num_slots=1, page_len=4, max_logits=64)
TOKENS = np.random.default_rng(1).integers(0, tiny.VOCAB, 40).tolist()
WIDE = {"hidden_size": 64, "num_hidden_layers": 2}
Arrays = dict[str, np.ndarray]


@pytest.fixture(params=["mixtral", "qwen3-moe"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A folder, and what transformers makes of it."""
    class_name, options = tiny.MODELS[request.param]
    model = tiny.make(class_name, **(options | WIDE))
    return tiny.save(model, tmp_path / "whole"), tiny.logits(model, TOKENS)


def logits(path: Path) -> np.ndarray:
    return Drive(load(open_checkpoint(path), CONFIG)).step({0: TOKENS}, num_logits=None)[0]


def rewritten(path: Path, folder: Path, change: Any, **config: Any) -> Path:
    """The same model with other tensors and another configuration."""
    folder.mkdir()
    save_file(change(load_file(path / "model.safetensors")), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(json.loads((path / "config.json").read_text()) | config))
    return folder


EXPERT = re.compile(r"(.*)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight")
PARTS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def side_by_side(found: Arrays) -> Arrays:
    """As transformers 5 has experts in memory."""
    out: Arrays = {}
    experts: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for name, array in found.items():
        if match := EXPERT.fullmatch(name):
            experts.setdefault((match[1], PARTS.get(match[3], match[3])), {})[int(match[2])] = array
        else:
            out[name.replace("block_sparse_moe", "mlp")] = array
    stacks = {key: np.stack([parts[e] for e in range(len(parts))]) for key, parts in experts.items()}
    for layer in {layer for layer, _ in stacks}:
        both = stacks[layer, "gate_proj"], stacks[layer, "up_proj"]
        out[f"{layer}.mlp.experts.gate_up_proj"] = np.concatenate(both, axis=1)
        out[f"{layer}.mlp.experts.down_proj"] = stacks[layer, "down_proj"]
    return out


def test_experts_of_one_tensor_are_those_of_many(made: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, expected = made
    fused = rewritten(path, tmp_path / "fused", side_by_side)
    assert not any(EXPERT.fullmatch(name) for name in load_file(fused / "model.safetensors"))
    np.testing.assert_array_equal(logits(fused), logits(path))
    assert np.abs(logits(path) - expected).max() < 3e-5 * np.abs(expected).max()


def gptq(weight: np.ndarray, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
    """8 bits, groups of 16 inputs in an order of this matrix's own, and the values that come of it."""
    num_outputs, num_inputs = weight.shape
    groups = rng.permutation(np.arange(num_inputs) // 16).astype(np.int32)
    scales = np.full((num_inputs // 16, num_outputs), np.abs(weight).max() / 127, np.float16)
    codes = np.clip(np.round(weight.T / scales[groups]) + 128, 0, 255).astype(np.uint8)
    parts = {"qweight": down(codes, 8), "qzeros": across(np.full(scales.shape, 127), 8), "scales": scales, "g_idx": groups}
    return parts, ((codes.astype(np.float32) - 128) * scales[groups].astype(np.float32)).T


def awq(weight: np.ndarray, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
    """4 bits, one group of inputs."""
    num_outputs = len(weight)
    scales = np.full((1, num_outputs), np.abs(weight).max() / 7, np.float16)
    codes = np.clip(np.round(weight.T / scales) + 8, 0, 15).astype(np.uint8)
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    packed = [
        across(c.reshape(len(c), -1, 8)[..., order].reshape(len(c), -1), 4) for c in (codes, np.full((1, num_outputs), 8))
    ]
    parts = {"qweight": packed[0], "qzeros": packed[1], "scales": scales}
    return parts, ((codes.astype(np.float32) - 8) * scales.astype(np.float32)).T


@pytest.mark.parametrize("quantise", [gptq, awq])
def test_experts_quantised_one_by_one(quantise: Any, tmp_path: Path) -> None:
    """Only experts are quantised; each has an order of inputs of its own where the format has one."""
    class_name, options = tiny.MODELS["mixtral"]
    path = tiny.save(tiny.make(class_name, **(options | WIDE | {"intermediate_size": 48})), tmp_path / "whole")
    rng = np.random.default_rng(3)
    dense: Arrays = {}

    def change(found: Arrays) -> Arrays:
        out: Arrays = {}
        for name, array in found.items():
            if not EXPERT.fullmatch(name):
                out[name] = dense[name] = array
                continue
            parts, dense[name] = quantise(array, rng)
            out |= {f"{name.removesuffix('.weight')}.{part}": np.ascontiguousarray(values) for part, values in parts.items()}
            dense[name] = np.ascontiguousarray(dense[name])
        return out

    method = {"quant_method": quantise.__name__, "bits": 8, "group_size": -1 if quantise is awq else 16, "version": "gemm"}
    quantised = rewritten(path, tmp_path / "quantised", change, quantization_config=method)
    as_numbers = rewritten(path, tmp_path / "numbers", lambda _: dense)
    np.testing.assert_allclose(logits(quantised), logits(as_numbers), atol=1e-5)


LAST = "model.layers.1.block_sparse_moe.experts.4.w2.weight"


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    class_name, options = tiny.MODELS["mixtral"]
    path = tiny.save(tiny.make(class_name, **(options | WIDE)), tmp_path / "whole")

    def without(found: Arrays) -> Arrays:
        return {name: array for name, array in found.items() if name != LAST}

    with pytest.raises(ModelFileError, match=r"no weight model\.layers\.1\.block_sparse_moe\.experts\.4\.w2"):
        logits(rewritten(path, tmp_path / "a", without))
    for number in (4, 6):  # the router says how many there are
        with pytest.raises(ModelFileError, match=r"layers\.0\.block_sparse_moe\.gate is 5 × 64"):
            logits(rewritten(path, tmp_path / str(number), dict, num_local_experts=number))
    with pytest.raises(ModelFileError, match=r"experts\.0\.w1 is 56 × 64"):
        logits(rewritten(path, tmp_path / "b", dict, intermediate_size=55))
    with pytest.raises(ModelFileError, match="more experts than"):
        open_checkpoint(rewritten(path, tmp_path / "c", dict, num_experts_per_tok=6))


@pytest.mark.parametrize("extra", ["experts.0.w4.weight", "experts.0.w1.bias", "shared_expert.gate_proj.weight", "expert_bias"])
def test_what_a_mixture_has_besides_is_refused(extra: str, tmp_path: Path) -> None:
    class_name, options = tiny.MODELS["mixtral"]
    path = tiny.save(tiny.make(class_name, **(options | WIDE)), tmp_path / "whole")
    name = f"model.layers.0.block_sparse_moe.{extra}"
    with pytest.raises(UnsupportedModel, match=re.escape(name)):
        logits(rewritten(path, tmp_path / "more", lambda found: found | {name: np.ones((56,), np.float32)}))


def test_a_dense_model_with_experts_is_refused(tmp_path: Path) -> None:
    path = tiny.save(tiny.make("Llama"), tmp_path / "whole")
    name = "model.layers.0.mlp.experts.0.up_proj.weight"
    with pytest.raises(UnsupportedModel, match=re.escape(name)):
        logits(rewritten(path, tmp_path / "more", lambda found: found | {name: np.ones((56, 32), np.float32)}))


def test_progress_goes_up_to_all_experts(made: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    fused = rewritten(made[0], tmp_path / "fused", side_by_side)
    for path in (made[0], fused):
        seen: list[tuple[int, int]] = []
        load(open_checkpoint(path), CONFIG, lambda done, total: seen.append((done, total)))  # noqa: B023
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1] == len(load_file(made[0] / "model.safetensors"))
        assert len({total for _, total in seen}) == 1


def written_by_gguf(path: Path, model: Any, kind: gguf.GGMLQuantizationType, apart: bool) -> dict[str, np.ndarray]:
    """A GGUF by the `gguf` package, experts in `kind`, all of a layer in one tensor or each in its own; and their values."""
    whole = gguf_files.write(path.with_suffix(".whole"), model)
    reader, writer = gguf.GGUFReader(whole), gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None)
    values = {}
    for tensor in reader.tensors:
        if "_exps" not in tensor.name:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        coded = gguf.quants.quantize(tensor.data, kind)
        values[tensor.name] = gguf.quants.dequantize(coded, kind)
        if apart:
            for expert, each in enumerate(coded):
                writer.add_tensor(tensor.name.replace("_exps.", f".{expert}."), each, raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, coded, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0], ids=["Q8_0", "Q4_0"])
def test_a_gguf_by_its_own_package(kind: gguf.GGMLQuantizationType, apart: bool, tmp_path: Path) -> None:
    """As llama.cpp writes Mixtral since April 2024, and as it did before."""
    import torch

    class_name, options = tiny.MODELS["mixtral"]
    model = tiny.make(class_name, **(options | WIDE | {"intermediate_size": 96, "sliding_window": None}))
    path = tmp_path / "tiny.gguf"
    values = written_by_gguf(path, model, kind, apart)
    for layer, each in enumerate(model.model.layers):  # transformers shall have what the file has
        gate, up, down = (torch.from_numpy(values[f"blk.{layer}.ffn_{n}_exps.weight"]) for n in ("gate", "up", "down"))
        each.mlp.experts.gate_up_proj.data.copy_(torch.cat([gate, up], 1))
        each.mlp.experts.down_proj.data.copy_(down)
    expected = tiny.logits(model, TOKENS)
    checkpoint = open_checkpoint(path)
    assert np.abs(logits(path) - expected).max() < 3e-5 * np.abs(expected).max()
    assert sum(weight.num_bytes for weight in weights_of(checkpoint)) == checkpoint.num_bytes
    experts = [w for w in weights_of(checkpoint) if w.role == "layer" and not w.is_dense]
    assert sum(w.num_numbers for w in experts) == 2 * 5 * 3 * 96 * 64


def test_a_gguf_with_an_expert_less(tmp_path: Path) -> None:
    class_name, options = tiny.MODELS["mixtral"]
    model = tiny.make(class_name, **(options | WIDE | {"sliding_window": None}))
    fewer = np.zeros((4, 56, 64), np.float32)
    path = gguf_files.write(tmp_path / "tiny.gguf", model, tensors={"blk.1.ffn_up_exps.weight": gguf_files.dense(fewer)})
    with pytest.raises(ModelFileError, match=r"no weight blk\.1\.ffn_up\.4"):
        logits(path)


NAMES = st.sampled_from(
    ["blk.0.ffn_gate_exps.weight", "blk.0.ffn_gate_up_exps.weight", "model.layers.0.mlp.experts.gate_up_proj", "other.weight"]
)


@settings(max_examples=200, deadline=None)
@given(NAMES, st.lists(st.integers(-2, 6) | st.just(1 << 40), max_size=4), st.integers(-5, 400))
def test_any_shape_is_cut_into_equal_parts_or_left_alone(name: str, shape: list[int], num_bytes: int) -> None:
    info = TensorInfo(name, "F32", tuple(shape), Path("x"), 100, num_bytes)
    parts = list(experts_apart({name: info}).values())
    if parts == [info]:
        return
    assert len(shape) == 3
    assert sum(part.num_bytes for part in parts) == num_bytes
    assert sum(part.shape[0] for part in parts) == shape[0] * shape[1]
    assert all(part.shape[1] == shape[2] for part in parts)
    ends = [part.offset + part.num_bytes for part in parts]
    assert [part.offset for part in parts] == [100, *ends[:-1]]
    assert {part.name for part in parts} == set(experts_apart({name: info}))


def test_names_of_experts_cut_apart() -> None:
    info = TensorInfo("blk.7.ffn_gate_up_exps.weight", "Q8_0", (2, 6, 32), Path("x"), 0, 2 * 6 * 34)
    found = experts_apart({info.name: info})
    assert list(found) == [
        "blk.7.ffn_gate.0.weight",
        "blk.7.ffn_up.0.weight",
        "blk.7.ffn_gate.1.weight",
        "blk.7.ffn_up.1.weight",
    ]
    assert found["blk.7.ffn_up.1.weight"] == dataclasses.replace(
        info, name="blk.7.ffn_up.1.weight", shape=(3, 32), offset=9 * 34, num_bytes=3 * 34
    )
