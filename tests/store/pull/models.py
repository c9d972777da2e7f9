"""Tiny models as repositories have them."""

from __future__ import annotations

import json
from typing import Any

from tests.store.gguf_bytes import tiny_llama
from tests.store.safetensors_bytes import build
from tests.store.test_checkpoint import CONFIG

CONFIG_BYTES = json.dumps(CONFIG).encode()
QUANTS = {"Q2_K": (10, 256, 84), "Q4_K_M": (12, 256, 144), "Q8_0": (8, 32, 34)}
NUM_WEIGHTS = 1 << 18


def gguf(extra_bytes: int = 0, **metadata: Any) -> bytes:
    """A sound llama; `extra_bytes` more of them make it a larger quant."""
    return tiny_llama(**metadata) + b"\0" * extra_bytes


def quant(name: str) -> bytes:
    """The same model of 262,144 weights, quantised."""
    kind, block_len, block_bytes = QUANTS[name]
    return tiny_llama(("blk.0.pad.weight", (256, NUM_WEIGHTS // 256), kind, NUM_WEIGHTS // block_len * block_bytes))


def weights(num_extra: int = 0, **dtypes: str) -> bytes:
    tensors = {"model.embed_tokens.weight": ("F32", [16, 8], b"\1" * 512)}
    if num_extra:
        tensors["model.norm.weight"] = ("F32", [num_extra], b"\2" * 4 * num_extra)
    return build(tensors)


def folder(**more: bytes) -> dict[str, bytes]:
    """A Hugging Face model with all that people leave beside one."""
    return {
        ".gitattributes": b"*.safetensors filter=lfs",
        "README.md": b"# hello",
        "LICENSE": b"free",
        "config.json": CONFIG_BYTES,
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}", "tokenizer_class": "LlamaTokenizerFast"}',
        "modeling_evil.py": b"import os",
        "model.safetensors": weights(4_000),
        "pytorch_model.bin": b"\x80pickle" * 3_000,
        "training_args.bin": b"\x80pickle",
        "onnx/model.onnx": b"onnx",
        **{name.replace("__", "."): data for name, data in more.items()},
    }


def shards(count: int = 2) -> dict[str, bytes]:
    """Two shards and their index."""
    one = build({"model.embed_tokens.weight": ("F32", [16, 8], b"\1" * 512)})
    two = build({"model.norm.weight": ("F32", [4_000], b"\2" * 16_000)})
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"model.embed_tokens.weight": names[0], "model.norm.weight": names[1]}}
    files = {names[0]: one, names[1]: two, "model.safetensors.index.json": json.dumps(index).encode()}
    return {
        "config.json": CONFIG_BYTES,
        **dict(list(files.items())[:count]),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }
