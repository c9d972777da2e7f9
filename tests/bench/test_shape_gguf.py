"""Random GGUF files, as llama.cpp's own Python package reads them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gguf
import numpy as np
import pytest

from publican.bench.shape_gguf import gguf_bytes, nearest_type, tensors_of, write_gguf
from publican.bench.shapes import num_parameters, parse_format, shape_named

WIDE = dataclasses.replace(shape_named("tiny"), hidden_size=256, ffn_size=512, num_heads=8)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0", "Q8_0", "Q2_K", "Q3_K", "Q6_K", "BF16"])
def test_weights_are_of_the_type_and_the_size_of_trained_ones(tmp_path: Path, kind: str) -> None:
    write_gguf(tmp_path / "a.gguf", WIDE, kind, 64)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert len(found) == 3 + 9 * WIDE.num_layers
    for name in ("blk.2.ffn_down.weight", "blk.0.attn_k.weight"):
        assert found[name].tensor_type.name == kind
        values = gguf.dequantize(found[name].data, found[name].tensor_type)
        assert values.shape == ((256, 512) if "down" in name else (64, 256))
        assert values.std() * values.shape[1] ** 0.5 == pytest.approx(1.0, abs=0.1)
        assert abs(values.mean()) < 0.15 * values.std()
        assert not (values[:8] == values[8:16]).all()
    assert (gguf.dequantize(found["output_norm.weight"].data, found["output_norm.weight"].tensor_type) == 1).all()
    size = (tmp_path / "a.gguf").stat().st_size
    assert gguf_bytes(WIDE, kind) < size < gguf_bytes(WIDE, kind) + 8192


def test_fields(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", WIDE, "Q4_0", 4096)
    fields = gguf.GGUFReader(tmp_path / "a.gguf").fields
    held = {name: field.contents() for name, field in fields.items()}
    assert held["general.architecture"] == "llama"
    assert (held["llama.block_count"], held["llama.embedding_length"], held["llama.feed_forward_length"]) == (3, 256, 512)
    assert (held["llama.attention.head_count"], held["llama.attention.head_count_kv"], held["llama.vocab_size"]) == (8, 2, 500)
    assert held["llama.context_length"] == 4096
    assert held["llama.attention.layer_norm_rms_epsilon"] == np.float32(WIDE.norm_eps)


def test_rows_that_no_large_block_divides_get_small_ones() -> None:
    assert {tensor.kind for tensor in tensors_of(shape_named("tiny"), "Q2_K")} == {"F16", "F32", "Q4_0"}
    assert {tensor.kind for tensor in tensors_of(shape_named("llama2-7b"), "Q3_K")} == {"F16", "F32", "Q3_K"}


def test_nearest_types() -> None:
    names = {
        "gptq-4-128": "Q4_0",
        "awq-4-128": "Q4_0",
        "gptq-8-row": "Q8_0",
        "exl2-2.4": "Q2_K",
        "exl2-6": "Q6_K",
        "bf16": "BF16",
    }
    assert {name: nearest_type(parse_format(name)) for name in names} == names


def test_a_published_shape_has_its_published_size() -> None:
    spec = shape_named("llama2-7b")
    tables = 2 * spec.vocab_size * spec.hidden_size
    in_blocks = (num_parameters(spec) - tables // 2) * 18 // 32
    assert gguf_bytes(spec, "Q4_0") == pytest.approx(in_blocks + 2 * tables, rel=1e-3)
