"""Writes GGUF files of a few thousand random weights that libllama runs: a llama, a Gemma with a window, a Mamba."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

VOCAB_SIZE = 96
CONTEXT_LEN = 512
WINDOW = 16
_EMBD, _FFN, _HEADS, _KV_HEADS, _LAYERS = 64, 96, 4, 2, 2
_HEAD_DIM = _EMBD // _HEADS


def write_llama(path: Path, architecture: str = "llama") -> Path:
    """Two llama layers; another `architecture` gives a sound file of a kind that libllama may not know."""
    writer = _writer(path, architecture)
    _write_attention_keys(writer)
    tensors = {"token_embd.weight": (VOCAB_SIZE, _EMBD), "output_norm.weight": (_EMBD,), "output.weight": (VOCAB_SIZE, _EMBD)}
    for i in range(_LAYERS):
        tensors |= _attention_block(i)
    return _finish(writer, tensors)


def write_gemma(path: Path) -> Path:
    """Six Gemma 3 layers, the first five of which see only the last `WINDOW` tokens."""
    writer = _writer(path, "gemma3")
    _write_attention_keys(writer, num_layers=6)
    writer.add_key_length(_HEAD_DIM)
    writer.add_value_length(_HEAD_DIM)
    writer.add_sliding_window(WINDOW)
    tensors = {"token_embd.weight": (VOCAB_SIZE, _EMBD), "output_norm.weight": (_EMBD,)}
    for i in range(6):
        tensors |= _attention_block(i)
        for name in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{i}.{name}.weight"] = (_EMBD,)
        for name in ("attn_q_norm", "attn_k_norm"):
            tensors[f"blk.{i}.{name}.weight"] = (_HEAD_DIM,)
    return _finish(writer, tensors)


def write_mamba(path: Path) -> Path:
    """Two Mamba layers: a recurrent model, whose sequences cannot forget just their tails."""
    inner, state, rank, kernel = 2 * _EMBD, 8, 4, 4
    writer = _writer(path, "mamba")
    writer.add_context_length(CONTEXT_LEN)
    writer.add_embedding_length(_EMBD)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(_LAYERS)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB_SIZE, _EMBD), "output_norm.weight": (_EMBD,)}
    for i in range(_LAYERS):
        tensors |= {
            f"blk.{i}.attn_norm.weight": (_EMBD,),
            f"blk.{i}.ssm_in.weight": (2 * inner, _EMBD),
            f"blk.{i}.ssm_conv1d.weight": (inner, kernel),
            f"blk.{i}.ssm_conv1d.bias": (inner,),
            f"blk.{i}.ssm_x.weight": (rank + 2 * state, inner),
            f"blk.{i}.ssm_dt.weight": (inner, rank),
            f"blk.{i}.ssm_dt.bias": (inner,),
            f"blk.{i}.ssm_a": (inner, state),
            f"blk.{i}.ssm_d": (inner,),
            f"blk.{i}.ssm_out.weight": (_EMBD, inner),
        }
    return _finish(writer, tensors)


def _writer(path: Path, architecture: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_vocab_size(VOCAB_SIZE)
    writer.add_tokenizer_model("no_vocab")
    return writer


def _write_attention_keys(writer: gguf.GGUFWriter, num_layers: int = _LAYERS) -> None:
    writer.add_context_length(CONTEXT_LEN)
    writer.add_embedding_length(_EMBD)
    writer.add_feed_forward_length(_FFN)
    writer.add_block_count(num_layers)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_HEAD_DIM)
    writer.add_rope_freq_base(10_000.0)


def _attention_block(i: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (_EMBD,),
        "attn_q": (_EMBD, _EMBD),
        "attn_k": (_KV_HEADS * _HEAD_DIM, _EMBD),
        "attn_v": (_KV_HEADS * _HEAD_DIM, _EMBD),
        "attn_output": (_EMBD, _EMBD),
        "ffn_norm": (_EMBD,),
        "ffn_gate": (_FFN, _EMBD),
        "ffn_up": (_FFN, _EMBD),
        "ffn_down": (_EMBD, _FFN),
    }
    return {f"blk.{i}.{name}.weight": shape for name, shape in shapes.items()}


def _finish(writer: gguf.GGUFWriter, tensors: Mapping[str, tuple[int, ...]]) -> Path:
    """Random weights, large enough that every position counts; norms near one, Mamba's decay negative."""
    random = np.random.default_rng(0)
    for name, shape in tensors.items():
        values = random.standard_normal(shape, dtype=np.float32)
        if name.endswith("ssm_a"):
            values = -np.exp(values / 4)
        elif len(shape) == 1:
            values = 1 + values / 10
        else:
            values *= 1.5 / np.sqrt(shape[-1])
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(writer.path)
