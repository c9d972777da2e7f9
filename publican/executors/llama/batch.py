"""`Batch`: a plan's rows as the arrays of a ``llama_batch``. The arrays are made once and filled in place.

A model with a sliding window gets a twin of every sequence, and each token belongs to both. libllama gives away cells
that have left the window of their only owner, `swa_full` or not, while other cells stand empty; a sequence that is cut
back or shared later would then lack tokens that its window needs, and nobody would be told. A cell of two owners stays.
"""

from __future__ import annotations

import ctypes
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import PlanError
from publican.core.executor import ExecutorInfo
from publican.core.step import StepPlan


class Batch:
    """The memory of one ``llama_batch``.

    Args:
        library: has the struct.
        info: `num_slots`, `max_batch_tokens`, `vocab_size`.
        has_shadows: whether sequence ``slot + num_slots`` owns whatever sequence ``slot`` does.
    """

    def __init__(self, library: Any, info: ExecutorInfo, has_shadows: bool) -> None:
        size = info.max_batch_tokens
        self._vocab_size = info.vocab_size
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._owners = np.zeros(size, np.uintp)  # int32 *, to the sequences of each token
        self._wanted = np.zeros(size, np.int8)
        self._num_owners = np.full(size, 2 if has_shadows else 1, np.int32)
        self._indices = np.arange(size, dtype=np.int32)
        slots = np.arange(info.num_slots)
        self._sequences = np.stack([slots, slots + info.num_slots], axis=1).astype(np.int32)  # [num_slots, 2]
        self._owner_of_slot = (self._sequences.ctypes.data + self._sequences.strides[0] * slots).astype(np.uintp)
        self.struct = self._make_struct(library)

    def _make_struct(self, library: Any) -> ctypes.Structure:
        struct: ctypes.Structure = library.llama_batch()
        arrays: dict[str, NDArray[Any]] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._num_owners,
            "seq_id": self._owners,
            "logits": self._wanted,
        }
        types = dict(field[:2] for field in library.llama_batch._fields_)
        for name, array in arrays.items():
            setattr(struct, name, ctypes.cast(array.ctypes.data, types[name]))
        return struct

    def fill(self, plan: StepPlan) -> None:
        """Lay out the rows of `plan`, whose slots and lengths were checked.

        Raises:
            PlanError: a token is not of the vocabulary.
        """
        rows = plan.rows
        lengths = [len(row.tokens) for row in rows]
        n = sum(lengths)
        tokens = self._tokens[:n]
        try:
            tokens[:] = np.fromiter(chain.from_iterable([row.tokens for row in rows]), np.int32, n)
        except (OverflowError, TypeError, ValueError) as error:
            raise PlanError(f"The plan was refused: a token is out of range ({error}).") from error
        if int(tokens.min()) < 0 or int(tokens.max()) >= self._vocab_size:
            raise PlanError(f"The plan was refused: a token is out of range, the vocabulary has {self._vocab_size:,}.")
        ends = np.cumsum(lengths, dtype=np.int32)
        slots = [row.slot for row in rows]
        if n == len(rows):  # one token each
            self._positions[:n] = [row.start for row in rows]
            self._owners[:n] = self._owner_of_slot[slots]
            self._wanted[:n] = [row.num_logits for row in rows]
        else:
            past = np.array([row.start + length for row, length in zip(rows, lengths, strict=True)], np.int32)
            self._positions[:n] = self._indices[:n] + np.repeat(past - ends, lengths)
            self._owners[:n] = np.repeat(self._owner_of_slot[slots], lengths)
            first_wanted = ends - np.array([row.num_logits for row in rows], np.int32)
            self._wanted[:n] = self._indices[:n] >= np.repeat(first_wanted, lengths)
        self.struct.n_tokens = n
