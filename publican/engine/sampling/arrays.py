"""What the array API standard lacks, and the way between the host's arrays and the device's. Knows nothing of sampling.

Everything else in this folder is written against the standard, so that NumPy and torch (CPU, CUDA) run the same code. The
host's side is NumPy whatever the device is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_namespace, is_torch_namespace, to_device
from numpy.typing import NDArray

BELOW_ONE = 1.0 - 2.0**-52

Array = Any
"""An array of the namespace in use, on the device in use."""

Host = NDArray[Any]
"""An array of NumPy."""


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace of arrays, and where they lie."""

    xp: Any
    device: Any
    is_numpy: bool
    is_torch: bool

    @staticmethod
    def of(array: Array) -> Space:
        if type(array) is np.ndarray:
            return _HOST
        xp = array_namespace(array)
        return Space(xp, device(array), is_numpy_namespace(xp), is_torch_namespace(xp))

    def put(self, host: Host, dtype: Any = None) -> Array:
        """`host` on the device; on NumPy itself."""
        if self.is_numpy:
            return host if dtype is None else host.astype(dtype, copy=False)
        return self.xp.asarray(host, dtype=dtype, device=self.device)

    def get(self, array: Array) -> Host:
        """`array` on the host. Waits for the device."""
        # names of devices are not part of the standard; torch is the one whose arrays lie elsewhere
        return np.asarray(to_device(array, "cpu") if self.is_torch else array)

    def scatter(self, target: Array, rows: Array, columns: Array, values: Array) -> None:
        """``target[rows[i], columns[i]] = values[i]``; no place is named twice."""
        if self.is_numpy or self.is_torch:
            target[rows, columns] = values
            return
        for i in range(values.shape[0]):
            target[int(rows[i]), int(columns[i])] = values[i]

    def at(self, array: Array, flat: Array) -> Array:
        """What stands at the flat positions, int64 [n], of `array`: [n]."""
        if self.is_torch:  # its `take` of the standard first looks for negative positions, in three passes
            return self.xp.reshape(array, (-1,)).index_select(0, flat)
        return self.xp.take(self.xp.reshape(array, (-1,)), flat, axis=0)

    def rows_of(self, array: Array, which: Array) -> Array:
        """The rows `which`, int64 [n], of `array` [B, N]: [n, N], a copy."""
        return array.index_select(0, which) if self.is_torch else self.xp.take(array, which, axis=0)

    def exp(self, own: Array) -> Array:
        """e to the power of `own`, whose memory the result may take: asking for new costs as much as the work."""
        if self.is_numpy:
            return np.exp(own, out=own)
        return own.exp_() if self.is_torch else self.xp.exp(own)

    def descending(self, array: Array) -> Array:
        """Each row sorted, largest first."""
        if self.is_numpy:
            return np.sort(array, axis=-1)[..., ::-1]
        return self.xp.sort(array, axis=-1, descending=True, stable=False)

    def running(self, array: Array) -> Array:
        """The running sums of each row in float64, in order: what follows never changes what came before."""
        if self.is_numpy:
            return np.add.accumulate(array, axis=-1, dtype=np.float64)
        return self.xp.cumulative_sum(array, axis=-1, dtype=self.xp.float64)

    def where(self, condition: Array) -> Array:
        """The flat positions at which `condition` [B, N] holds, ascending."""
        flat = self.xp.reshape(condition, (-1,))
        return flat.nonzero()[0] if self.is_numpy else self.xp.nonzero(flat)[0]

    def count(self, condition: Array) -> Array:
        """How often `condition` [B, N] holds in each row: int64 [B, 1]."""
        if self.is_numpy:
            return np.add.reduce(condition, axis=-1, dtype=np.int64, keepdims=True)
        return self.xp.sum(self.xp.astype(condition, self.xp.int64), axis=-1, keepdims=True)

    def num_within(self, running: Array, share: Array) -> Array:
        """How many of the running sums [B, N] are no more than `share` < 1 of the last: int64 [B, 1], less than N."""
        total = running[:, -1:]
        # a product that rounds up to the total would be past the end
        return self.count(running <= self.xp.minimum(share * total, total * BELOW_ONE))

    def pick(self, array: Array, columns: Array) -> Array:
        """One column of each row: int64 [B, 1] of [B, N]."""
        if self.is_torch:
            return array.gather(1, columns)
        if array.shape[0] == 1:  # by far the most common, and a third of the time
            return self.xp.take(array, columns[0, :], axis=1)
        return self.xp.take_along_axis(array, columns, axis=-1)

    def nth(self, descending: Array, count: Array) -> Array:
        """The `count`-th, int64 [B, 1], of each descending row, or the last."""
        return self.pick(descending, self.xp.minimum(count, self.xp.full_like(count, descending.shape[1])) - 1)


_HOST = Space(array_namespace(np.zeros(0)), "cpu", True, False)
