"""compressed-tensors: 4 and 8 bits, with and without zero points and group numbers, inputs that do not fill a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.compressed_tensors import COMPRESSED_TENSORS
from publican.executors.native.layout import dequantise
from tests.executors.native.stored import stored
from tests.executors.native.words import across, down


def write(
    bits: int, group_len: int, *, num_inputs: int = 256, asymmetric: bool = False, act_order: bool = False, bf16: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A random matrix: tensors, and values [outputs, inputs]. Signed numbers are stored with half their range added."""
    rng = np.random.default_rng(bits + group_len)
    num_outputs, num_groups, half = 24, -(-num_inputs // group_len), 1 << (bits - 1)
    codes = rng.integers(-half, half, (num_outputs, num_inputs))
    zeros = rng.integers(-half, half, (num_outputs, num_groups)) if asymmetric else np.zeros((num_outputs, num_groups), int)
    scales = (rng.random(zeros.shape) * 0.1).astype(np.float16)
    stored_scales, exact = scales, scales.astype(np.float32)
    if bf16:
        stored_scales = (exact.view(np.uint32) >> 16).astype(np.uint16)
        exact = (stored_scales.astype(np.uint32) << 16).view(np.float32)
    group_of = np.arange(num_inputs) // group_len
    arrays = {
        "w.weight_packed": across(codes + half, bits),
        "w.weight_scale": stored_scales,
        "w.weight_shape": np.array([num_outputs, num_inputs], np.int64),
    }
    if act_order:
        group_of = rng.permutation(group_of)
        arrays["w.weight_g_idx"] = group_of.astype(np.int32)
    if asymmetric:
        arrays["w.weight_zero_point"] = down(zeros + half, bits)
    return arrays, (exact[:, group_of] * (codes - zeros[:, group_of])).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"asymmetric": True}, {"act_order": True}, {"bf16": True}])
@pytest.mark.parametrize("group_len", [32, 128, 256])
@pytest.mark.parametrize("bits", [4, 8])
def test_reads_what_a_writer_wrote_exactly(bits: int, group_len: int, options: dict[str, bool], tmp_path: Path) -> None:
    arrays, values = write(bits, group_len, **options)  # type: ignore[arg-type]
    tensors = stored(tmp_path, arrays)
    assert COMPRESSED_TENSORS.owns(tensors, "w")
    np.testing.assert_array_equal(dequantise(COMPRESSED_TENSORS.read(tensors, "w", {}, values.shape)), values)


@pytest.mark.parametrize("bits", [4, 8])
def test_inputs_need_not_fill_a_word(bits: int, tmp_path: Path) -> None:
    arrays, values = write(bits, 250, num_inputs=250)
    tensors = stored(tmp_path, arrays)
    np.testing.assert_array_equal(dequantise(COMPRESSED_TENSORS.read(tensors, "w", {}, values.shape)), values)


def test_group_numbers_of_minus_one_mean_none(tmp_path: Path) -> None:
    arrays, values = write(4, 64)
    arrays["w.weight_g_idx"] = np.full(256, -1, np.int32)
    np.testing.assert_array_equal(dequantise(COMPRESSED_TENSORS.read(stored(tmp_path, arrays), "w", {}, values.shape)), values)


def test_without_a_shape_the_models_counts(tmp_path: Path) -> None:
    arrays, values = write(4, 64)
    del arrays["w.weight_shape"]
    np.testing.assert_array_equal(dequantise(COMPRESSED_TENSORS.read(stored(tmp_path, arrays), "w", {}, values.shape)), values)


def test_what_it_does_not_read(tmp_path: Path) -> None:
    arrays, values = write(4, 64)
    for changed, text in (
        (arrays | {"w.weight_global_scale": np.ones(1, np.float32)}, "NVFP4"),
        (arrays | {"w.weight_packed": arrays["w.weight_packed"][:, :16]}, "other than 4 or 8"),
    ):
        with pytest.raises(UnsupportedModel, match=text):
            COMPRESSED_TENSORS.read(stored(tmp_path, changed), "w", {}, values.shape)


def test_damage_is_a_model_file_error(tmp_path: Path) -> None:
    arrays, values = write(4, 64, asymmetric=True)
    for damage in (
        {"w.weight_zero_point": arrays["w.weight_zero_point"][:1]},
        {"w.weight_scale": arrays["w.weight_scale"][:5]},
        {"w.weight_scale": arrays["w.weight_scale"][:, :0]},
        {"w.weight_shape": np.array([24, -256])},
        {"w.weight_shape": np.array([24, 256, 1])},
        {"w.weight_packed": arrays["w.weight_packed"].reshape(-1)},
    ):
        with pytest.raises(ModelFileError):
            COMPRESSED_TENSORS.read(stored(tmp_path, arrays | damage), "w", {}, values.shape)
