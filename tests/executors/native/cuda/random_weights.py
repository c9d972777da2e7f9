"""Random quantised matrices, about as large as a trained model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from publican.executors.native.layout import QuantizedMatrix, Segment


def random_quantised(
    rng: np.random.Generator, n: int, cuts: Sequence[tuple[int, int, int]], ordered: bool = False
) -> QuantizedMatrix:
    """Segments of (bits, group_len, inputs); scales such that products neither fade nor explode."""
    num_inputs = sum(cut[2] for cut in cuts)
    segments = []
    for bits, group_len, count in cuts:
        shape = n, -(-count // group_len)
        scales = (rng.uniform(0.5, 1.5, shape) * 3.5 / (2**bits * num_inputs**0.5)).astype(np.float32)
        offsets = (-scales * rng.uniform(0.4, 0.6, shape) * 2**bits).astype(np.float32)
        codes = rng.integers(0, 2**bits, (n, count)).astype(np.uint8)
        segments.append(Segment(bits, group_len, codes, scales, offsets))
    return QuantizedMatrix(tuple(segments), rng.permutation(num_inputs).astype(np.int32) if ordered else None)
