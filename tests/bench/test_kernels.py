"""The kernel and shape benches on this machine's processor, with a tiny shape."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from publican.bench.kernels import TINY, Ceilings, Timer, decoding_batch, measure_ceilings, time_kernels
from publican.bench.kernels_report import ceilings_text, columns, kernels_text, steps_text
from publican.bench.shape_times import ShapeConfig, prompt_batch, time_shape
from publican.bench.shapes import (
    lower_repeated,
    num_parameters,
    parse_format,
    random_matrix,
    random_program,
    rough_weight_bytes,
    shape_named,
)
from publican.core.errors import SettingsError
from publican.executors.native.cuda.backend import CudaBackend, operations
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.layout import QuantizedMatrix, dequantise

ON_CPU = CudaConfig(devices=("cpu",), kernels="torch", dtype="f32", kv_dtype="f32")
CEILINGS = Ceilings("the CPU", 1e10, 1e11)


@pytest.mark.parametrize(
    "name", ["bf16", "gptq-4-128", "gptq-3-32-act", "gptq-8-row", "gptq-2-64", "awq-4-64", "exl2-3.5", "exl2-8"]
)
def test_random_weights_in_every_format(name: str) -> None:
    """Read as files are; about as large as a trained model's, so that activations neither fade nor explode."""
    how = parse_format(name)
    matrix = random_matrix(np.random.default_rng(0), (96, 256), how)
    assert matrix.shape == (96, 256)
    values = dequantise(matrix)
    assert 0.3 < np.linalg.norm(values, axis=1).mean() < 3.0
    if isinstance(matrix, QuantizedMatrix):
        bits = sum(s.bits * s.num_inputs for s in matrix.segments) / 256
        assert abs(bits - how.bits) <= 0.5
        assert (matrix.order is not None) == (how.has_order or how.kind == "exl2")


@pytest.mark.parametrize("name", ["", "gptq", "gptq-5-128", "gptq-4-x", "gptq-4-128-no", "awq-3-128", "exl2-9", "q4_0"])
def test_an_unknown_format_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(SettingsError, match="gptq-4-128"):
        parse_format(name)


def test_shapes_have_their_published_sizes() -> None:
    sizes = {"llama2-7b": 6.6, "llama2-13b": 12.9, "llama2-33b": 32.3, "llama2-70b": 68.7}
    for name, billions in sizes.items():
        assert num_parameters(shape_named(name)) / 1e9 == pytest.approx(billions, rel=0.01)
    assert rough_weight_bytes(shape_named("llama2-70b"), parse_format("gptq-4-128")) / 2**30 == pytest.approx(35, abs=1.5)
    with pytest.raises(SettingsError, match="llama2-70b"):
        shape_named("llama9")


def test_layers_are_repeated_in_memory_of_their_own() -> None:
    spec, how = shape_named("tiny"), parse_format("gptq-4-32")
    backend = CudaBackend(random_program(spec, how, 64), (8, 16), (16, 2), ON_CPU, lower_repeated)
    weights = [each.weight for each in backend._stages[0].instructions if hasattr(each, "weight")]
    places = [w.segments[0].low.data_ptr() if hasattr(w, "segments") else w.values.data_ptr() for w in weights]
    assert len(places) == len(set(places)) == 4 * spec.num_layers + 1
    assert backend._stages[0].layers == [0, 1, 2]
    for cache in backend.caches:
        cache.fill_randomly()
    logits, _ = backend.run(decoding_batch(2, 20))
    assert torch.isfinite(logits).all()
    table = 4 * spec.vocab_size * spec.hidden_size
    assert backend.weight_bytes - 2 * table == pytest.approx(
        (num_parameters(spec) - spec.vocab_size * spec.hidden_size) * (0.5 + 4 / 32),
        rel=0.05,  # rows are padded to whole chunks
    )


def test_a_shape_is_timed() -> None:
    config = ShapeConfig(ON_CPU, batch_sizes=(1, 3), contexts=(20,), prompt_len=40, num_steps=1)
    weight_bytes, times = time_shape(shape_named("tiny"), parse_format("exl2-4"), config, CEILINGS, lambda text: None)
    assert weight_bytes > 0
    assert [each.case for each in times] == [
        "decode, 1 × 20",
        "decode, 3 × 20",
        "prompt of 40",
    ]
    assert all(each.seconds > 0 and 0 < each.share < 1 and not each.left_out for each in times)
    assert "decode, 3 × 20" in steps_text("tiny", weight_bytes, times)


def test_kernels_are_timed() -> None:
    said: list[str] = []
    ceilings = measure_ceilings(TINY)
    assert ceilings.bytes_per_s > 1e7
    assert "GB/s" in ceilings_text(ceilings)
    times = time_kernels(TINY, operations(dataclasses.replace(ON_CPU, dtype="bf16")), ceilings, said.append)
    assert {each.name for each in times} == {"bf16 96×128", "gptq-4-32 96×128", "attention", "add and norm", "gate"}
    assert all(each.seconds > 0 for each in times)
    assert "gptq-4-32 96×128" in kernels_text(times)
    assert said


def test_a_timer_divides_by_the_calls() -> None:
    count = [0]

    def call() -> None:
        count[0] += 1

    assert Timer(torch.device("cpu"), repeats=3).seconds([call] * 4) >= 0
    assert count == [4 + 3 * 4]


def test_batches_are_sound() -> None:
    batch = decoding_batch(3, 33)
    assert sorted(batch.pages.reshape(-1)) == list(range(9))
    assert batch.positions.tolist() == batch.past.tolist() == [32, 32, 32]
    prompt = prompt_batch(20)
    assert prompt.logit_rows.tolist() == [19]
    assert prompt.pages.shape == (1, 2)


def test_columns() -> None:
    assert columns([("a", "bb"), ("long", "c")]) == "a     bb\nlong   c"


def test_a_bare_machine_can_run_them() -> None:
    banned = ["array_api_compat", "click", "rich", "httpx", "pydantic", "psutil", "llguidance", "jinja2", "llama_cpp", "gguf"]
    script = f"import sys\nfor name in {banned}: sys.modules[name] = None\nimport publican.bench.kernels_report"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
