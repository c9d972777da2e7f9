"""GPTQ: every width, group size, order of groups and convention for zeros, from a writer that packs with Python integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.gptq import GPTQ
from publican.executors.native.layout import QuantizedMatrix, dequantise
from tests.executors.native.stored import stored
from tests.executors.native.words import across, down

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Written:
    """A random matrix: its tensors, and its values [outputs, inputs]."""

    arrays: Arrays
    values: np.ndarray


def write(
    bits: int, group_len: int, *, act_order: bool = False, symmetric: bool = False, version: int = 1, num_inputs: int = 256
) -> Written:
    rng = np.random.default_rng(bits * 1000 + group_len + act_order + 2 * symmetric + 4 * version)
    num_outputs, group_len = 64, num_inputs if group_len < 0 else group_len
    num_groups = -(-num_inputs // group_len)
    group_of = np.arange(num_inputs) // group_len
    if act_order:
        group_of = rng.permutation(group_of)
    codes = rng.integers(0, 1 << bits, (num_inputs, num_outputs))
    zeros = rng.integers(version == 1, (1 << bits) + (version == 1), (num_groups, num_outputs))
    if symmetric:
        zeros[:] = 1 << (bits - 1)
    scales = (rng.random((num_groups, num_outputs)) * 0.1).astype(np.float16)
    values = scales.astype(np.float32)[group_of] * (codes - zeros[group_of])
    arrays = {
        "w.qweight": down(codes, bits),
        "w.qzeros": across(zeros - (version == 1), bits),
        "w.scales": scales,
        "w.g_idx": group_of.astype(np.int32),
    }
    return Written(arrays, values.T.astype(np.float32))


def read(folder: Path, written: Written, settings: dict[str, Any]) -> QuantizedMatrix:
    tensors = stored(folder, written.arrays)
    assert GPTQ.owns(tensors, "w")
    matrix = GPTQ.read(tensors, "w", settings, written.values.shape)
    assert isinstance(matrix, QuantizedMatrix)
    return matrix


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("group_len", [32, 64, 128, -1])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_reads_what_a_writer_wrote_exactly(bits: int, group_len: int, act_order: bool, symmetric: bool, tmp_path: Path) -> None:
    for version, settings in ((1, {"bits": bits, "group_size": group_len}), (2, {"checkpoint_format": "gptq_v2"})):
        written = write(bits, group_len, act_order=act_order, symmetric=symmetric, version=version)
        matrix = read(tmp_path, written, settings)
        np.testing.assert_array_equal(dequantise(matrix), written.values)
        assert (matrix.order is not None) == (act_order and group_len > 0)
        assert matrix.segments[0].bits == bits


@pytest.mark.parametrize("settings", [{}, {"group_size": 100}, {"group_size": "many"}, {"bits": 99}])
def test_needs_no_settings(settings: dict[str, Any], tmp_path: Path) -> None:
    written = write(4, 64)
    np.testing.assert_array_equal(dequantise(read(tmp_path, written, settings)), written.values)


@pytest.mark.parametrize("group_len", [64, 96])
def test_a_last_group_may_be_short(group_len: int, tmp_path: Path) -> None:
    written = write(4, group_len, num_inputs=224)
    np.testing.assert_array_equal(dequantise(read(tmp_path, written, {"group_size": group_len})), written.values)


@pytest.mark.parametrize("habit", ["missing", "zeros"])
def test_without_group_numbers_groups_are_in_order(habit: str, tmp_path: Path) -> None:
    written = write(4, 32)
    if habit == "missing":
        del written.arrays["w.g_idx"]
    else:
        written.arrays["w.g_idx"][:] = 0
    matrix = read(tmp_path, written, {"bits": 4, "group_size": 32, "desc_act": True})
    np.testing.assert_array_equal(dequantise(matrix), written.values)


def test_act_order_is_honoured_whatever_the_flag_says(tmp_path: Path) -> None:
    written = write(4, 32, act_order=True)
    np.testing.assert_array_equal(dequantise(read(tmp_path, written, {"desc_act": False})), written.values)


@pytest.mark.parametrize(
    "settings", [{"checkpoint_format": "marlin"}, {"is_marlin_format": True}, {"checkpoint_format": "gptq_p"}]
)
def test_names_the_variant_it_does_not_read(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"GPTQ variant.*pull"):
        read(tmp_path, write(4, 32), settings)


def test_refuses_widths_it_does_not_know(tmp_path: Path) -> None:
    written = write(4, 32)
    written.arrays["w.qzeros"] = across(np.zeros((8, 64), int), 5)
    with pytest.raises(UnsupportedModel, match="5 bits"):
        read(tmp_path, written, {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a | {"w.scales": a["w.scales"][:, :32]},
        lambda a: a | {"w.scales": a["w.scales"][:3]},
        lambda a: a | {"w.scales": a["w.scales"][:0]},
        lambda a: a | {"w.qweight": a["w.qweight"].reshape(-1)},
        lambda a: a | {"w.qzeros": a["w.qzeros"][:1]},
        lambda a: a | {"w.g_idx": a["w.g_idx"] - 1},
        lambda a: a | {"w.g_idx": a["w.g_idx"] + 1},
        lambda a: a | {"w.g_idx": a["w.g_idx"][:-8]},
        lambda a: a | {"w.g_idx": np.where(np.arange(256) < 40, 0, a["w.g_idx"])},
        lambda a: a | {"w.qweight": a["w.qweight"].astype(np.int64)},
        lambda a: {k: v for k, v in a.items() if k != "w.qzeros"},
    ],
)
def test_damage_is_a_model_file_error(damage: Any, tmp_path: Path) -> None:
    written = write(4, 32)
    with pytest.raises(ModelFileError):
        read(tmp_path, Written(damage(written.arrays), written.values), {})
