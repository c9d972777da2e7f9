"""`Matcher`: where one answer stands in its grammar. Engine thread only, but for `fill`, which the mask thread runs while the
executor computes; nothing else touches a matcher meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from publican.core.ids import TokenId

Mask = NDArray[np.int32]


class Matcher:
    """Follows one answer.

    Args:
        machine: compiled, and free of errors.
        vocab_size: tokens in the vocabulary.
    """

    def __init__(self, machine: LLMatcher, vocab_size: int) -> None:
        self._machine = machine
        self._vocab_size = vocab_size
        self._mask: Mask = np.empty(-(-vocab_size // 32), np.int32)

    def copy(self) -> Matcher:
        """Another answer to the same prompt, standing where this one stands."""
        return Matcher(self._machine.deep_copy(), self._vocab_size)

    def fill(self) -> None:
        """Work out which tokens may come next. Releases the GIL."""
        self._machine.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)

    @property
    def mask(self) -> Any:
        """What `fill` found, int32 words of bits, lowest first; overwritten by the next `fill`."""
        return self._mask

    def accept(self, token: TokenId) -> bool:
        """`token` came next. False: it does not follow the grammar, and the answer cannot go on."""
        return self._machine.consume_token(token)

    def forced(self) -> list[TokenId]:
        """The tokens that must come next because the grammar leaves one way; not accepted yet."""
        return [TokenId(token) for token in self._machine.compute_ff_tokens()]

    def rewind(self, num_tokens: int) -> None:
        """Take back the last `num_tokens` that were accepted."""
        if num_tokens:
            self._machine.rollback(num_tokens)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow any more."""
        return self._machine.is_stopped()

    @property
    def complete(self) -> bool:
        """Whether the answer so far is a whole one."""
        return self._machine.is_accepting()

    @property
    def error(self) -> str:
        """Why the machine gave up; empty if it did not."""
        return self._machine.get_error()
