"""EXL2: mixed widths, inputs in another order, padded outputs, a short last group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import ModelFileError
from publican.executors.native.formats.exl2 import EXL2
from publican.executors.native.layout import QuantizedMatrix, dequantise
from tests.executors.native.stored import stored
from tests.executors.native.words import across, down

MIXES = [
    [(8, 32), (6, 32), (5, 64), (5, 64), (4, 128), (3, 128), (2, 64)],
    [(4, 128), (4, 128)],
    [(6, 128), (4, 32), (4, 32), (4, 32)],
    [(5, 128), (5, 128), (5, 32)],  # the last group is short
]


def write(groups: list[tuple[int, int]], num_outputs: int = 40) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A random matrix of groups (bits, inputs): tensors, and values [outputs, inputs]. Outputs are padded to 32."""
    rng = np.random.default_rng(len(groups))
    num_columns, num_inputs = -(-num_outputs // 32) * 32, sum(length for _, length in groups)
    order = rng.permutation(num_inputs)
    roots = rng.integers(1, 17, (len(groups), num_columns))
    largest = (rng.random(len(groups)) * 2).astype(np.float16)
    words: list[np.ndarray] = []
    pairs: list[int] = []
    values = np.empty((num_inputs, num_columns), np.float32)
    row = first_word = 0
    for g, (bits, length) in enumerate(groups):
        codes = rng.integers(0, 1 << bits, (length, num_columns))
        codes[:, num_outputs:] = 1 << (bits - 1)
        scale = np.float16(roots[g] ** 2) * np.float16(largest[g] * np.float16(1 / 256))
        values[order[row : row + length]] = (codes - (1 << (bits - 1))) * scale.astype(np.float32)
        packed = down(codes, bits)
        words.append(packed)
        pairs += [bits, first_word]
        row, first_word = row + length, first_word + len(packed)
    arrays = {
        "w.q_weight": np.concatenate(words),
        "w.q_scale": across(roots - 1, 4),
        "w.q_scale_max": largest,
        "w.q_groups": np.array(pairs, np.int16),
        "w.q_invperm": np.argsort(order).astype(np.int32),
    }
    return arrays, values.T[:num_outputs]


@pytest.mark.parametrize("groups", MIXES)
@pytest.mark.parametrize("num_outputs", [32, 40])
def test_reads_what_a_writer_wrote_exactly(groups: list[tuple[int, int]], num_outputs: int, tmp_path: Path) -> None:
    arrays, values = write(groups, num_outputs)
    tensors = stored(tmp_path, arrays)
    assert EXL2.owns(tensors, "w")
    matrix = EXL2.read(tensors, "w", {}, values.shape)
    np.testing.assert_array_equal(dequantise(matrix), values)


def test_neighbours_of_one_kind_are_one_segment(tmp_path: Path) -> None:
    arrays, values = write(MIXES[0])
    matrix = EXL2.read(stored(tmp_path, arrays), "w", {}, values.shape)
    assert isinstance(matrix, QuantizedMatrix)
    assert [(s.bits, s.num_inputs, s.group_len) for s in matrix.segments] == [
        (8, 32, 32), (6, 32, 32), (5, 128, 64), (4, 128, 128), (3, 128, 128), (2, 64, 64)
    ]  # fmt: skip


def test_the_first_files_store_the_permutation_itself(tmp_path: Path) -> None:
    arrays, values = write(MIXES[0])
    arrays["w.q_perm"] = np.argsort(arrays.pop("w.q_invperm")).astype(np.int32)
    np.testing.assert_array_equal(dequantise(EXL2.read(stored(tmp_path, arrays), "w", {}, values.shape)), values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a | {"w.q_invperm": np.zeros_like(a["w.q_invperm"])},
        lambda a: a | {"w.q_invperm": a["w.q_invperm"][:-32]},
        lambda a: a | {"w.q_groups": a["w.q_groups"][::-1].copy()},
        lambda a: a | {"w.q_groups": a["w.q_groups"][:-2]},
        lambda a: a | {"w.q_groups": a["w.q_groups"] + 1},
        lambda a: a | {"w.q_groups": a["w.q_groups"][:0]},
        lambda a: a | {"w.q_weight": a["w.q_weight"][:-1]},
        lambda a: a | {"w.q_scale": a["w.q_scale"][:, :-1]},
        lambda a: a | {"w.q_scale_max": a["w.q_scale_max"][:-1]},
        lambda a: {k: v for k, v in a.items() if k != "w.q_invperm"},
    ],
)
def test_damage_is_a_model_file_error(damage: Any, tmp_path: Path) -> None:
    arrays, values = write(MIXES[0])
    with pytest.raises(ModelFileError):
        EXL2.read(stored(tmp_path, damage(arrays)), "w", {}, values.shape)
