"""The default model, quantised once more in the test and saved as a GPTQ folder: it still answers, and how far it strayed.

Rounding to nearest, no calibration: this tests the road from a quantised folder to an answer, not a quantiser.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from publican.executors.native.config import NativeConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.layout import dequantise
from publican.executors.native.loading import describe, load
from publican.executors.native.program import Embed, GatedLinear, Linear, Logits, Norm
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native.test_default_model import CHAT_TOKENS, IM_END, divergence, greedy

pytestmark = pytest.mark.slow
CONFIG = NativeConfig(context_len=128, num_slots=1, max_batch_tokens=128, max_logits=128)
GROUP_LEN = 32


@pytest.fixture(scope="module")
def tensors(default_model: Path) -> dict[str, np.ndarray]:
    """The default model's float32 weights by transformers' names."""
    program, _, _ = describe(open_checkpoint(default_model), CONFIG)
    found: dict[str, np.ndarray] = {}
    layer, num_norms = 0, 0
    for op in program.ops:
        place = f"model.layers.{layer}"
        match op:
            case Embed():
                found["model.embed_tokens.weight"] = dequantise(op.table).astype(np.float16)
            case Norm():
                name = ("input_layernorm", "post_attention_layernorm")[num_norms % 2]
                found[f"{place}.{name}.weight"], num_norms = op.weight, num_norms + 1
            case Linear(dst="qkv"):
                parts = np.split(dequantise(op.weight), [576, 768])
                found |= {f"{place}.self_attn.{n}_proj": part for n, part in zip("qkv", parts, strict=True)}
            case Linear(src="attended"):
                found[f"{place}.self_attn.o_proj"] = dequantise(op.weight)
            case GatedLinear():
                found |= {f"{place}.mlp.gate_proj": dequantise(op.gate), f"{place}.mlp.up_proj": dequantise(op.up)}
            case Linear(src="ffn"):
                found[f"{place}.mlp.down_proj"] = dequantise(op.weight)
                layer += 1
            case Logits():
                found["model.norm.weight"] = op.norm
    return found


def gptq(weight: np.ndarray, bits: int, act_order: bool, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """[N, K] rounded to the nearest of 2^bits steps between the extremes of each group of inputs, packed as GPTQ v1."""
    num_outputs, num_inputs = weight.shape
    group_of = np.arange(num_inputs) // GROUP_LEN
    if act_order:
        group_of = rng.permutation(group_of)
    order = np.argsort(group_of, kind="stable")
    grouped = weight[:, order].reshape(num_outputs, -1, GROUP_LEN)
    low, high = np.minimum(grouped.min(2), 0), np.maximum(grouped.max(2), 0)
    scales = np.maximum((high - low) / ((1 << bits) - 1), 1e-5).astype(np.float16).astype(np.float32)
    zeros = np.clip(np.round(-low / scales), 1, (1 << bits) - 1)
    codes = np.clip(np.round(grouped / scales[..., None]) + zeros[..., None], 0, (1 << bits) - 1)
    unsorted = np.empty((num_outputs, num_inputs), np.uint32)
    unsorted[:, order] = codes.reshape(num_outputs, -1)
    per_word, shifts = 32 // bits, np.arange(0, 32, bits, dtype=np.uint32)

    def pack(numbers: np.ndarray) -> np.ndarray:
        """Along the last axis."""
        words = numbers.astype(np.uint32).reshape(*numbers.shape[:-1], -1, per_word) << shifts
        return np.bitwise_or.reduce(words, axis=-1).view(np.int32)

    return {
        "qweight": np.ascontiguousarray(pack(unsorted).T),
        "qzeros": pack(zeros.T - 1),
        "scales": np.ascontiguousarray(scales.T.astype(np.float16)),
        "g_idx": group_of.astype(np.int32),
    }


def write_folder(folder: Path, tensors: dict[str, np.ndarray], bits: int, act_order: bool) -> Path:
    rng, written = np.random.default_rng(0), {}
    for name, array in tensors.items():
        if name.endswith(".weight"):
            written[name] = array
        else:
            written |= {f"{name}.{kind}": part for kind, part in gptq(array, bits, act_order, rng).items()}
    save_file(written, folder / "model.safetensors")
    config = {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000,
        "tie_word_embeddings": True, "vocab_size": 49152,
        "quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": GROUP_LEN, "desc_act": act_order},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def truth(default_model: Path) -> np.ndarray:
    return Drive(load(open_checkpoint(default_model), CONFIG)).step({0: CHAT_TOKENS}, num_logits=None)[0]


def answer(executor: NativeExecutor) -> tuple[np.ndarray, list[int]]:
    drive = Drive(executor)
    logits = drive.step({0: CHAT_TOKENS}, num_logits=None)[0]
    return logits, greedy(drive, 0, logits, 20)


@pytest.mark.parametrize(("bits", "act_order", "bound"), [(8, False, 5e-3), (4, True, 1.0)])
def test_gptq(
    bits: int,
    act_order: bool,
    bound: float,
    tensors: dict[str, np.ndarray],
    truth: np.ndarray,
    tmp_path: Path,
    default_model: Path,
) -> None:
    executor = load(open_checkpoint(write_folder(tmp_path, tensors, bits, act_order)), CONFIG)
    logits, tokens = answer(executor)
    strayed, agreement = divergence(truth, logits)
    print(f"GPTQ {bits} bits, act-order {act_order}: KL {strayed:.3g}, top-1 {agreement:.3f}")
    assert 0 < strayed < bound
    pieces = open_checkpoint(default_model).metadata["tokenizer.ggml.tokens"]
    text = "".join(pieces[t] for t in tokens).replace("Ġ", " ")
    print(text)
    assert "Paris" in text
    assert tokens[-1] == IM_END
