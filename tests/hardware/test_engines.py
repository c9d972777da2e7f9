"""What engines keep, against published figures and against the C++ backend itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from publican.core.cache_types import KV_TYPES
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu import make_backend
from publican.executors.native.layout import QuantizedMatrix, Segment
from publican.executors.native.loading import _with_windows, describe
from publican.executors.native.plain.cache import KVCache
from publican.executors.native.program import Program
from publican.hardware.engines import Load, kept_bytes, kv_bytes_per_layer, needs
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB, KIB
from publican.hardware.weights import Weight, described, weights_of
from publican.store.checkpoint import open_checkpoint
from tests.executors.native import tiny

PUBLISHED = [  # KiB of float16 keys and values per token, GiB of 4-bit g128 weights, GiB of float16 ones
    ("llama-2-7b", 512, 3.62, 12.55),
    ("llama-2-13b", 800, 6.75, 24.24),
    ("llama-1-33b", 1560, 16.33, 60.59),
    ("codellama-34b", 192, 17.05, 62.85),
    ("llama-1-65b", 2560, 32.31, 121.6),
    ("llama-2-70b", 320, 34.10, 128.5),
    ("mistral-7b", 128, 3.87, 13.49),
    ("llama-3-8b", 128, 5.33, 14.96),
    ("llama-3-70b", 320, 37.04, 131.4),
    ("qwen2.5-7b", 56, 5.19, 14.2),
    ("qwen2.5-14b", 192, 9.29, 27.5),
    ("qwen2.5-32b", 256, 18.00, 61.0),
    ("qwen2.5-72b", 320, 38.62, 135.4),
    ("yi-34b", 240, 17.91, 64.05),
    ("mixtral-8x7b", 128, 22.96, 86.99),
    ("qwen3-30b-a3b", 96, 15.65, 56.87),
]


@pytest.mark.parametrize(("name", "kv_kib", "coded_gib", "half_gib"), PUBLISHED)
def test_published_shapes(name, kv_kib, coded_gib, half_gib):
    spec = SHAPES[name]
    assert kv_bytes_per_layer("cuda", spec, "f16") * spec.num_layers == kv_kib * KIB
    assert sum(w.num_bytes for w in described(spec, 4, 128)) / GIB == pytest.approx(coded_gib, rel=0.003)
    coded = needs("cuda", spec, described(spec, 4, 128), Load(4096))
    assert coded.weight_bytes / GIB == pytest.approx(coded_gib, rel=0.025)  # offsets are kept as numbers, not as codes
    half = needs("cuda", spec, described(spec, 16), Load(4096))
    assert half.weight_bytes / GIB == pytest.approx(half_gib, rel=0.003)


@pytest.mark.parametrize("engine", ["cuda", "cpu", "plain", "llama"])
def test_smaller_types_are_smaller(engine):
    sizes = [kv_bytes_per_layer(engine, SHAPES["llama-2-7b"], kv_type) for kv_type in KV_TYPES[engine]]
    assert all(size > 0 for size in sizes)
    if "q8" in KV_TYPES[engine]:
        half, eighth = (kv_bytes_per_layer(engine, SHAPES["llama-2-7b"], kv_type) for kv_type in ("bf16", "q8"))
        assert 0.5 < eighth / half < 0.54
    if "q4" in KV_TYPES[engine]:
        half, fourth = (kv_bytes_per_layer(engine, SHAPES["llama-2-7b"], kv_type) for kv_type in ("bf16", "q4"))
        assert 0.28 < fourth / half < 0.32


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("kv_type", ["bf16", "q8", "q4"])
def test_the_cpu_backend_keeps_what_is_said(default_model: Path, is_exact: bool, kv_type):
    """To the byte: panels of every matrix, and pages."""
    checkpoint = open_checkpoint(default_model)
    config = NativeConfig(
        "cpu", context_len=256, num_slots=2, quality=is_exact, kv_dtype=kv_type, num_threads=1, max_batch_tokens=64
    )
    program, _, filled = describe(checkpoint, config)
    backend = make_backend(program, filled)
    matrices = [w for w in weights_of(checkpoint) if not w.is_vector]
    try:
        assert sum(kept_bytes("cpu", w, is_exact) for w in matrices) == backend.weight_bytes
        per_token = kv_bytes_per_layer("cpu", checkpoint.spec, kv_type) * checkpoint.spec.num_layers
        assert per_token * 16 == backend._cache.page_bytes[0]
    finally:
        backend.close()


@pytest.mark.parametrize("name", ["mixtral", "qwen2-moe", "qwen3-moe"])
def test_the_cpu_backend_keeps_what_is_said_of_experts(name: str, tmp_path: Path):
    class_name, options = tiny.MODELS[name]
    checkpoint = open_checkpoint(tiny.save(tiny.make(class_name, **options), tmp_path))
    config = NativeConfig("cpu", context_len=64, num_slots=1, num_threads=1, max_batch_tokens=64)
    program, _, filled = describe(checkpoint, config)
    backend = make_backend(program, filled)
    backend.close()
    weights = weights_of(checkpoint)
    assert sum(w.num_bytes for w in weights) == checkpoint.num_bytes
    kept = sum(kept_bytes("cpu", w) for w in weights if not w.is_vector and w.role != "embedding")  # a dense table stays
    assert kept == backend.weight_bytes


@pytest.mark.parametrize("kv_type", ["f32", "q8", "q4"])
@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-8b"])
def test_the_plain_backends_cache_is_as_large_as_is_said(name: str, kv_type):
    spec = SHAPES[name]
    cache = KVCache(1, 1, 16, spec.num_kv_heads, spec.head_dim, kv_type)
    assert cache.num_bytes == 16 * kv_bytes_per_layer("plain", spec, kv_type)


@pytest.mark.parametrize("kv_type", ["bf16", "f32", "q8", "q4"])
def test_the_cuda_backends_pages_are_as_large_as_is_said(kv_type):
    torch = pytest.importorskip("torch")
    from publican.executors.native.cuda.cache import KVCache as CudaCache
    from publican.executors.native.cuda.cache import page_bytes
    from publican.executors.native.cuda.devices import DTYPES

    spec = SHAPES["llama-2-7b"]
    shape = spec.num_kv_heads, 16, spec.head_dim
    said = 16 * kv_bytes_per_layer("cuda", spec, kv_type)
    assert page_bytes(1, shape, DTYPES[kv_type]) == said
    cache = CudaCache(1, 2, shape, DTYPES[kv_type], torch.device("cpu"))
    assert sum(part.nbytes for part in cache._parts()) == 3 * said  # and the spare page


@pytest.mark.parametrize(("engine", "backend"), [("plain", "plain"), ("cpu", "cpu"), ("cuda", "cuda")])
@pytest.mark.parametrize("windowed", [(), (False, True, True)])
@pytest.mark.parametrize(("context_len", "users"), [(500, 3), (64, 4), (100, 1)])
def test_layers_with_a_window_are_planned_as_they_are_kept(tmp_path: Path, engine, backend, windowed, context_len, users):
    """To the byte, as the loader makes the pages: users × window, slack and a step, but never more than the context."""
    spec = dataclasses.replace(SHAPES["mistral-7b"], num_layers=3, sliding_window=40, windowed=windowed)
    load = Load(context_len, users, KV_TYPES[engine][0], chunk_len=32)
    planned = needs(engine, spec, (), load).layer_kv_bytes
    num_pages = -(-load.num_tokens // 16)
    config = NativeConfig(backend, context_len, num_pages=num_pages, max_batch_tokens=32)
    windows = tuple(40 if not windowed or windowed[i] else 0 for i in range(3))
    program = Program((), {}, (), 3, 32, 8, 128, 4096, 9, context_len, windows)
    kept = _with_windows(config, program)
    one = 16 * kv_bytes_per_layer(engine, spec, load.kv_type)
    assert planned == tuple(one * (kept.num_windowed_pages if window else num_pages) for window in windows)
    assert needs("llama", spec, (), load).layer_kv_bytes[0] == needs("llama", spec, (), load).layer_kv_bytes[2]


def test_weights_of_every_width_in_panels():
    """Sizes by hand: 16 outputs side by side, 4 or 8 bits a code, a scale and an offset per group."""

    def weight(bits: float, group_len: int, num_inputs: int = 256, **rest) -> Weight:
        return Weight("layer", 0, 20, num_inputs, bits, group_len, 0, **rest)

    assert kept_bytes("cpu", weight(4, 128)) == 32 * (256 // 2 + 2 * 2 * 2)
    assert kept_bytes("cpu", weight(3, 128)) == 32 * (256 // 2 + 2 * 2 * 2)
    assert kept_bytes("cpu", weight(6, 16)) == 32 * (256 + 16 * 4)
    assert kept_bytes("cpu", weight(4, 0)) == 32 * (256 // 2 + 4)
    assert kept_bytes("cpu", weight(4, 24, 48)) == 32 * (2 * 32 // 2 + 2 * 4)  # groups are padded to blocks of 16
    assert kept_bytes("cpu", weight(4, 16), is_exact=True) == 32 * (256 // 2 + 16 * 8)
    assert kept_bytes("cpu", weight(4, 16, has_half_scales=True), is_exact=True) == 32 * (256 // 2 + 16 * 4)
    assert kept_bytes("cpu", weight(16, 0, 100, is_dense=True)) == 32 * 128 * 2
    assert kept_bytes("plain", weight(4, 128)) == 4 * 20 * 256
    assert kept_bytes("cuda", weight(4, 16, is_rebuilt=True)) == 2 * 20 * 256


def test_a_dense_embedding_stays_in_its_file_on_the_cpu():
    spec = SHAPES["llama-2-7b"]
    weights = described(spec, 4)
    assert needs("cpu", spec, weights, Load(512)).embedding_bytes == 0
    assert needs("cuda", spec, weights, Load(512)).embedding_bytes == 32_000 * 4096 * 2
    tied = dataclasses.replace(spec, tied=True)
    assert needs("cpu", tied, described(tied, 4), Load(512)).output_bytes > 32_000 * 4096 * 2


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("group_len", [16, 32, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_the_cuda_backend_keeps_what_is_said(bits: int, group_len: int, is_exact: bool):
    """To the byte; its packer runs on any device."""
    torch = pytest.importorskip("torch")
    from publican.executors.native.cuda.packing import Packer

    num_outputs, num_inputs = 48, 640
    codes = np.full((num_outputs, num_inputs), (1 << bits) - 1, np.uint8)
    ones = np.ones((num_outputs, num_inputs // group_len), np.float32)
    packer = Packer(torch.device("cpu"), torch.bfloat16, is_exact)
    packer.pack(QuantizedMatrix((Segment(bits, group_len, codes, ones, ones),)))
    weight = Weight("layer", 0, num_outputs, num_inputs, bits, group_len, 0)
    assert kept_bytes("cuda", weight, is_exact) == packer.num_bytes


def test_layers_beyond_the_last_are_counted():
    """Heads that predict several tokens lie behind the layers that the header counts."""
    spec = SHAPES["llama-2-7b"]
    weights = described(spec, 4)
    extra = Weight("layer", spec.num_layers, 4096, 4096, 16, 0, 2 * 4096 * 4096, is_dense=True)
    more = needs("llama", spec, (*weights, extra), Load(512))
    assert more.weight_bytes - needs("llama", spec, weights, Load(512)).weight_bytes == extra.num_bytes
    assert len(more.layer_bytes) == spec.num_layers
