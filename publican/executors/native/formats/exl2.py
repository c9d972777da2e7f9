"""EXL2: groups of 2 to 8 bits mixed in one matrix, inputs in the order of their importance, outputs padded to 32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError
from publican.executors.native.formats.bits import unpack_stream, words_per_unit
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import Matrix, QuantizedMatrix, Segment, take_outputs
from publican.executors.native.tensors import MappedTensors

_BITS = (2, 3, 4, 5, 6, 8)


class _Group(NamedTuple):
    """Consecutive inputs with one scale per output. Words are rows of `q_weight`."""

    bits: int
    first_word: int
    num_words: int
    num_inputs: int


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.q_weight" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> Matrix:
    q_weight = tensors.array(f"{module}.q_weight", "I32")
    order = _order(tensors, module)
    groups = _groups(tensors.array(f"{module}.q_groups", "I16"), q_weight.shape[0], len(order), module)
    scales = _scales(tensors, module, q_weight.shape[1], len(groups))
    segments = []
    first = 0
    for last in range(1, len(groups) + 1):
        if last == len(groups) or not _continues(groups[first], groups[last - 1], groups[last]):
            segments.append(_segment(q_weight, groups[first:last], scales[first:last]))
            first = last
    return take_outputs(QuantizedMatrix(tuple(segments), order), slice(shape[0]))


def _order(tensors: MappedTensors, module: str) -> NDArray[np.int32]:
    """Which input each stored one is."""
    if f"{module}.q_invperm" in tensors:
        inverse = tensors.array(f"{module}.q_invperm", "I32", "I16").astype(np.int32)
        order = np.argsort(inverse).astype(np.int32)
    else:  # a few of the first files store the permutation itself
        order = tensors.array(f"{module}.q_perm", "I32", "I16").astype(np.int32)
        inverse = order
    if inverse.ndim != 1 or not np.array_equal(np.sort(inverse), np.arange(len(inverse))):
        raise ModelFileError(f"The input order of {module} is no permutation; download the model again.")
    return order


def _groups(pairs: NDArray[np.int16], num_words: int, num_inputs: int, module: str) -> list[_Group]:
    """The groups, from (bits, first word) of each; how many inputs they have follows from the words between them."""
    bits = pairs[0::2].astype(int)
    starts = [*(pairs[1::2].astype(int) & 0xFFFF), num_words]
    groups, left = [], num_inputs
    for i, width in enumerate(bits):
        words = int(starts[i + 1] - starts[i])
        if width not in _BITS or words <= 0 or words % words_per_unit(int(width)):
            break
        count = min(left, words * 32 // int(width))
        groups.append(_Group(int(width), int(starts[i]), words, count))
        left -= count
    if len(groups) != len(bits) or not groups or starts[0] != 0 or left:
        raise ModelFileError(f"The groups of {module} do not fit its size; download the model again.")
    return groups


def _scales(tensors: MappedTensors, module: str, num_columns: int, num_groups: int) -> NDArray[np.float32]:
    """[groups, columns]. The products are rounded to float16, as in the kernels that the quantiser measured with."""
    words = tensors.array(f"{module}.q_scale", "I32")
    largest = tensors.array(f"{module}.q_scale_max", "F16")
    if words.shape != (num_groups, num_columns // 8) or largest.shape != (num_groups,) or num_columns % 8:
        raise ModelFileError(f"The scales of {module} do not fit its size; download the model again.")
    roots = unpack_stream(words.T, 4).T.astype(np.float16) + np.float16(1)
    return (roots * roots * (largest * np.float16(1 / 256))[:, None]).astype(np.float32)


def _continues(first: _Group, last: _Group, following: _Group) -> bool:
    """Whether a segment that begins with `first` and ends with `last` may go on: full groups of one size and width."""
    same = following.bits == first.bits and following.num_inputs <= first.num_inputs
    return same and last.num_inputs == first.num_inputs


def _segment(q_weight: NDArray[np.int32], groups: list[_Group], scales: NDArray[np.float32]) -> Segment:
    bits, group_len = groups[0].bits, groups[0].num_inputs
    begin, end = groups[0].first_word, groups[-1].first_word + groups[-1].num_words
    codes = unpack_stream(q_weight[begin:end], bits)[: sum(group.num_inputs for group in groups)]
    return Segment(
        bits=bits,
        group_len=group_len,
        codes=np.ascontiguousarray(codes.T),
        scales=np.ascontiguousarray(scales.T),
        offsets=np.ascontiguousarray(-(1 << (bits - 1)) * scales.T),
    )


EXL2 = Format("EXL2", _owns, _read)
