"""From codes, scales, zeros and a group number per input to a `QuantizedMatrix`: what GPTQ, AWQ and the like share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError
from publican.executors.native.layout import QuantizedMatrix, Segment


def affine_matrix(
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    zeros: NDArray[np.float32],
    groups: tuple[int, NDArray[np.int32] | None],
    bits: int,
) -> QuantizedMatrix:
    """w[k, n] = scales[group of k, n] · (codes[k, n] - zeros[group of k, n])

    Args:
        codes: [K, N].
        scales, zeros: [G, N].
        groups: inputs per group, and where they are scattered (act-order) the group of each input.
    """
    group_len, group_of = groups
    order = None
    if group_of is not None:
        order = np.argsort(group_of, kind="stable").astype(np.int32)
        codes = codes[order]
    segment = Segment(
        bits=bits,
        group_len=group_len,
        codes=np.ascontiguousarray(codes.T),
        scales=np.ascontiguousarray(scales.T),
        offsets=np.ascontiguousarray(-(scales * zeros).T),
    )
    return QuantizedMatrix((segment,), order)


def groups_of(
    group_of: NDArray[np.int32] | None, num_inputs: int, num_groups: int, stated_len: int, name: str
) -> tuple[int, NDArray[np.int32] | None]:
    """How inputs fall into groups: inputs per group, and the group of each input where they are scattered.

    Args:
        group_of: the file's own list; None, or all zeros (an old habit), means one after another.
        stated_len: what the settings say; 0 or less where they do not.

    Raises:
        ModelFileError: the groups are not of one size.
    """
    if num_groups == 1:
        return num_inputs, None
    if group_of is None or not group_of.any():
        return _plain_len(num_inputs, num_groups, stated_len, name), None
    if len(group_of) != num_inputs or group_of.min() < 0 or group_of.max() >= num_groups:
        raise ModelFileError(f"The groups of {name} do not fit its size; download the model again.")
    sizes = np.bincount(group_of, minlength=num_groups)
    group_len = int(sizes[0])
    if (sizes[:-1] != group_len).any() or not 0 < sizes[-1] <= group_len:
        raise ModelFileError(f"The groups of {name} are of different sizes; download the model again.")
    in_order = bool((np.diff(group_of) >= 0).all())
    return group_len, None if in_order else group_of


def _plain_len(num_inputs: int, num_groups: int, stated_len: int, name: str) -> int:
    guess = 1 << max(0, -(-num_inputs // num_groups) - 1).bit_length()  # group sizes are powers of two
    for group_len in (stated_len, -(-num_inputs // num_groups), guess):
        if group_len > 0 and -(-num_inputs // group_len) == num_groups:
            return group_len
    raise ModelFileError(f"The {num_groups} groups of {name} do not fit its {num_inputs} inputs; download the model again.")
