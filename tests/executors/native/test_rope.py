"""Rope tables: against transformers' own functions, and the properties that each method promises."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from publican.core.errors import ModelFileError
from publican.core.model import Rope, RopeKind, RopeScaling
from publican.executors.native.rope import inverse_frequencies, rope_table
from publican.store.spec_fields import Fields
from publican.store.spec_hf_rope import rope_of
from tests.executors.native import tiny

PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "llama 3.1": (
        131_072,
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 8192},
    ),
    "llama 3.2": (
        131_072,
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 8192},
    ),
    "qwen 2.5 at 128k": (
        32_768, {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32_768}
    ),
    "yarn llama 2": (
        65_536, {"rope_type": "yarn", "rope_theta": 1e4, "factor": 16.0, "original_max_position_embeddings": 4096}
    ),
    "longchat": (16_384, {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}),
    "plain": (4096, {"rope_type": "default", "rope_theta": 1e4}),
    "dynamic": (4096, {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
    "phi 3 at 128k": (
        131_072,
        {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 4096,
         "short_factor": [1.0 + i / 64 for i in range(64)], "long_factor": [1.0 + i for i in range(64)]},
    ),
}  # fmt: skip


def theirs(context_len: int, loaded_len: int, parameters: dict[str, Any]) -> tuple[np.ndarray, float]:
    tiny.quiet()
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(max_position_embeddings=context_len, head_dim=128, rope_parameters=dict(parameters))
    if parameters["rope_type"] == "default":
        return parameters["rope_theta"] ** (-np.arange(0, 128, 2) / 128), 1.0
    frequencies, magnitude = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, None, seq_len=loaded_len)
    return frequencies.numpy(), magnitude


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("stretch", [1, 2])
def test_agrees_with_transformers(name: str, stretch: int) -> None:
    context_len, parameters = PUBLISHED[name]
    loaded_len = context_len * stretch
    rope = rope_of(Fields({"rope_parameters": parameters}, "config.json"), "full_attention", 128, context_len, 1e4)
    frequencies, magnitude = inverse_frequencies(rope, loaded_len)
    expected, expected_magnitude = theirs(context_len, loaded_len, parameters)
    np.testing.assert_allclose(frequencies, expected, rtol=3e-6)
    assert magnitude == pytest.approx(expected_magnitude)


def test_alpha_is_a_larger_theta() -> None:
    """Values that exllama's users know, at theta 10,000 and heads of 128."""
    for alpha, theta in ((1.75, 17_656), (2.5, 25_366), (2.6, 26_397), (2.63, 26_707)):
        stretched, _ = inverse_frequencies(Rope(1e4, 128, RopeScaling("ntk", alpha=alpha)), 4096)
        plain, _ = inverse_frequencies(Rope(theta, 128), 4096)
        np.testing.assert_allclose(stretched, plain, rtol=1e-4)


def test_dynamic_is_ntk_with_the_growth_as_alpha() -> None:
    dynamic = Rope(1e4, 128, RopeScaling("dynamic", factor=2.0, original_context_len=4096))
    ntk = Rope(1e4, 128, RopeScaling("ntk", alpha=3.0))
    np.testing.assert_allclose(inverse_frequencies(dynamic, 8192)[0], inverse_frequencies(ntk, 8192)[0])
    np.testing.assert_array_equal(inverse_frequencies(dynamic, 2048)[0], inverse_frequencies(Rope(1e4, 128), 2048)[0])


@pytest.mark.parametrize("kind", ["none", "linear", "ntk", "dynamic", "yarn", "llama3"])
def test_neutral_values_change_nothing(kind: RopeKind) -> None:
    for dim in (2, 4, 64):
        plain, _ = inverse_frequencies(Rope(1e4, dim), 512)
        same, magnitude = inverse_frequencies(Rope(1e4, dim, RopeScaling(kind, original_context_len=512)), 512)
        np.testing.assert_allclose(same, plain, rtol=1e-12)
        assert magnitude == 1.0


def test_the_table_is_cosines_and_sines_of_angles() -> None:
    rope = Rope(5e5, 8, RopeScaling("yarn", factor=4.0, original_context_len=64))
    table = rope_table(rope, 256)
    frequencies, magnitude = inverse_frequencies(rope, 256)
    assert magnitude == pytest.approx(0.1 * math.log(4) + 1)
    assert table.cos.shape == table.sin.shape == (256, 4)
    assert table.dim == 8
    for position in (0, 1, 255):
        np.testing.assert_allclose(table.cos[position], magnitude * np.cos(position * frequencies), atol=1e-6)
        np.testing.assert_allclose(table.sin[position], magnitude * np.sin(position * frequencies), atol=1e-6)


def test_a_files_divisors_come_on_top() -> None:
    divisors = np.array([1, 2, 4, 8], np.float32)
    rope = Rope(1e4, 8, RopeScaling("linear", factor=2.0))
    table = rope_table(rope, 16, divisors)
    frequencies, _ = inverse_frequencies(rope, 16)
    np.testing.assert_allclose(table.sin[3], np.sin(3 * frequencies / divisors), atol=1e-6)


@pytest.mark.parametrize("factors", [(1.0, 2.0), (), (1.0, 2.0, 0.0, 1.0), (1.0, 2.0, -3.0, 1.0), (1.0, math.nan, 1.0, 1.0)])
def test_factors_that_do_not_fit_are_refused(factors: tuple[float, ...]) -> None:
    rope = Rope(1e4, 8, RopeScaling("longrope", original_context_len=4, short_factors=factors, long_factors=factors))
    with pytest.raises(ModelFileError):
        rope_table(rope, 16)
    with pytest.raises(ModelFileError):
        rope_table(dataclasses.replace(rope, scaling=RopeScaling()), 16, np.array(factors, np.float32))
