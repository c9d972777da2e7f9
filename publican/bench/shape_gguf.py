"""Writes a GGUF file of a published shape with random weights, for a peer that takes weights from files only.

A few megabytes of random blocks are made for each width and repeated, out of step with the rows, so that writing is as fast
as the disk. There is no vocabulary in the file but its size. Knows no library that reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from publican.bench.shapes import WeightFormat
from publican.core.model import ModelSpec
from publican.store.ggml_types import GGML_TYPES

_ALIGNMENT = 32
_NUM_RANDOM = 65_537  # blocks; a prime, so that it is no multiple of a row
_U32, _F32, _STRING = 4, 6, 8


class _Halves(NamedTuple):
    """Where a type has its float16 scales: `scale` in a block, the offset's (if any) with what it is of the scale.

    `rms` is that of random codes where the scale is 1.
    """

    scale: int
    rms: float
    offset: int | None = None
    offset_share: float = 0.0


_HALVES: Mapping[str, _Halves] = {
    "Q4_0": _Halves(0, 4.64),
    "Q5_0": _Halves(0, 9.25),
    "Q8_0": _Halves(0, 73.9),
    "Q2_K": _Halves(80, 13.9, 82, 1.5),
    "Q3_K": _Halves(108, 43.4),
    "Q6_K": _Halves(208, 1366.0),
}
_NUMBERS = {kind.name: number for number, kind in GGML_TYPES.items()}


class Tensor(NamedTuple):
    """A tensor as GGUF names it: `shape` is [outputs, inputs], or [n]."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        _, block_len, block_bytes = GGML_TYPES[_NUMBERS[self.kind]]
        size = int(np.prod(self.shape))
        return size // block_len * block_bytes


def nearest_type(how: WeightFormat) -> str:
    """llama.cpp's type whose bits are nearest to a format's."""
    if how.kind == "bf16":
        return "BF16"
    types = {2: "Q2_K", 3: "Q3_K", 4: "Q4_0", 5: "Q5_0", 6: "Q6_K", 8: "Q8_0"}
    return types[min(types, key=lambda bits: abs(bits - how.bits))]


def tensors_of(spec: ModelSpec, kind: str) -> Iterator[Tensor]:
    """Of a model of the architecture llama, its tables in 16 bits as the other shapes have them."""
    q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    hidden, ffn = spec.hidden_size, spec.ffn_size
    table = "BF16" if kind == "BF16" else "F16"
    matrices = {
        "attn_q": (q, hidden),
        "attn_k": (kv, hidden),
        "attn_v": (kv, hidden),
        "attn_output": (hidden, q),
        "ffn_gate": (ffn, hidden),
        "ffn_up": (ffn, hidden),
        "ffn_down": (hidden, ffn),
    }
    yield Tensor("token_embd.weight", table, (spec.vocab_size, hidden))
    for layer in range(spec.num_layers):
        for name in ("attn_norm", "ffn_norm"):
            yield Tensor(f"blk.{layer}.{name}.weight", "F32", (hidden,))
        for name, shape in matrices.items():
            yield Tensor(f"blk.{layer}.{name}.weight", _fitting(kind, shape[1]), shape)
    yield Tensor("output_norm.weight", "F32", (hidden,))
    yield Tensor("output.weight", table, (spec.vocab_size, hidden))


def _fitting(kind: str, num_inputs: int) -> str:
    """A type whose blocks divide a row: the small ones do where those of 256 do not."""
    if num_inputs % GGML_TYPES[_NUMBERS[kind]].block_len == 0:
        return kind
    return "Q8_0" if kind == "Q6_K" else "Q4_0"


def gguf_bytes(spec: ModelSpec, kind: str) -> int:
    """What the tensors take, which is nearly all of the file."""
    return sum(_aligned(tensor.num_bytes) for tensor in tensors_of(spec, kind))


def write_gguf(path: Path, spec: ModelSpec, kind: str, context_len: int, seed: int = 0) -> None:
    """Write a model of these weights. OSError if the disk does not take it."""
    rng = np.random.default_rng(seed)
    tensors = list(tensors_of(spec, kind))
    blocks: dict[tuple[str, int], bytes] = {}
    with path.open("wb") as file:
        file.write(_header(spec, tensors, context_len))
        file.write(bytes(-file.tell() % _ALIGNMENT))
        for tensor in tensors:
            key = tensor.kind, tensor.shape[-1]
            if key not in blocks:
                blocks[key] = _random_blocks(rng, *key)
            _write_repeated(file, blocks[key], tensor.num_bytes)
            file.write(bytes(-file.tell() % _ALIGNMENT))


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _write_repeated(file: BinaryIO, block: bytes, num_bytes: int) -> None:
    view = memoryview(block)
    for _ in range(num_bytes // len(block)):
        file.write(view)
    file.write(view[: num_bytes % len(block)])


def _random_blocks(rng: np.random.Generator, kind: str, num_inputs: int) -> bytes:
    """Weights about as large as a trained model's: the root of their mean square is `num_inputs` ** -0.5. Norms are 1."""
    size = num_inputs**-0.5
    if kind == "F32":
        return np.ones(num_inputs, np.float32).tobytes()
    if kind in ("F16", "BF16"):
        values = rng.standard_normal(16 * _NUM_RANDOM, np.float32) * np.float32(size)
        return (
            (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
            if kind == "BF16"
            else values.astype(np.float16).tobytes()
        )
    halves = _HALVES[kind]
    blocks = rng.integers(0, 256, (_NUM_RANDOM, GGML_TYPES[_NUMBERS[kind]].block_bytes), np.uint8)
    scale = size / halves.rms
    blocks[:, halves.scale : halves.scale + 2] = _half(scale)
    if halves.offset is not None:
        blocks[:, halves.offset : halves.offset + 2] = _half(scale * halves.offset_share)
    return blocks.tobytes()


def _half(value: float) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(struct.pack("<e", value), np.uint8)


def _header(spec: ModelSpec, tensors: list[Tensor], context_len: int) -> bytes:
    fields = {
        "general.architecture": _text("llama"),
        "general.name": _text("random weights"),
        "llama.block_count": _number(spec.num_layers),
        "llama.context_length": _number(max(context_len, spec.context_len)),
        "llama.embedding_length": _number(spec.hidden_size),
        "llama.feed_forward_length": _number(spec.ffn_size),
        "llama.attention.head_count": _number(spec.num_heads),
        "llama.attention.head_count_kv": _number(spec.num_kv_heads),
        "llama.attention.key_length": _number(spec.head_dim),
        "llama.attention.value_length": _number(spec.head_dim),
        "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", _F32, spec.norm_eps),
        "llama.rope.dimension_count": _number(spec.head_dim),
        "llama.rope.freq_base": struct.pack("<If", _F32, spec.rope.theta),
        "llama.vocab_size": _number(spec.vocab_size),
        "tokenizer.ggml.model": _text("no_vocab"),
    }
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(fields))]
    parts += [_string(name) + value for name, value in fields.items()]
    offset = 0
    for tensor in tensors:
        dims = tensor.shape[::-1]
        parts.append(_string(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
        parts.append(struct.pack("<IQ", _NUMBERS[tensor.kind], offset))
        offset += _aligned(tensor.num_bytes)
    return b"".join(parts)


def _number(value: int) -> bytes:
    return struct.pack("<II", _U32, value)


def _text(value: str) -> bytes:
    return struct.pack("<I", _STRING) + _string(value)


def _string(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()
