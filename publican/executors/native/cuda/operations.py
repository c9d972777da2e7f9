"""`Operations`: what a device can compute. `twins` says it in plain torch; `kernels` does it fast.

Names of sizes: M rows (tokens) of the step, N outputs, K inputs, V vocabulary. Activations are [M, width] in the backend's
type, perhaps with a longer stride between rows; the residual stream is float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.mixtures import Mixture
from publican.executors.native.cuda.packing import Weight


@dataclass(frozen=True, slots=True)
class Heads:
    """How a row of [q heads | k heads | v heads] is cut."""

    num_q: int
    num_kv: int
    dim: int

    @property
    def per_kv(self) -> int:
        return self.num_q // self.num_kv


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Keys and values of one layer, each [pages, kv heads, tokens of a page, head_dim].

    Those of 8 bits have float16 scales [pages, kv heads, tokens of a page]: a number is scale · code, codes from -127 to 127.
    Those of 4 bits are uint8 [pages, kv heads, tokens of a page, head_dim / 2] and have scales [pages, kv heads, tokens of a
    page, head_dim / 32]: a number is scale · (code - 8), and byte 16 g + i has those of numbers 32 g + i (below) and
    32 g + 16 + i (above). Their keys are mixed (`native.kv_codes.mix`), and so are the queries that meet them.

    `is_windowed`: the layer has a window, and which pages a sequence has is said by a step's table of windowed ones.
    """

    keys: torch.Tensor
    values: torch.Tensor
    key_scales: torch.Tensor | None = None
    value_scales: torch.Tensor | None = None
    is_windowed: bool = field(default=False, kw_only=True)

    @property
    def are_nibbles(self) -> bool:
        """Whether two numbers lie in a byte."""
        return self.keys.dtype == torch.uint8

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys, values and their scales, for a kernel: where there are no scales, something to point at."""
        if self.key_scales is None or self.value_scales is None:
            return self.keys, self.values, self.keys, self.values
        return self.keys, self.values, self.key_scales, self.value_scales


@dataclass(frozen=True, slots=True, eq=False)
class HeadNorms:
    """RMSNorm weights of q and k, float32 [head_dim] each; both or neither."""

    q: torch.Tensor | None = None
    k: torch.Tensor | None = None
    eps: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class RowNorm:
    """RMSNorm over rows: `weight` float32 [width], and where the result goes."""

    weight: torch.Tensor
    eps: float
    dst: torch.Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """How attention makes scores: `program.Attend` says what each is."""

    scale: float
    window: int = 0
    softcap: float = 0.0


class Operations(Protocol):
    """All on the current stream of the tensors' device; nothing waits."""

    def block_sizes(self, heads: Heads) -> tuple[int, int]:
        """Rows per program of the attention kernel, for short and for long sequences."""
        ...

    def embed(self, table: Weight, tokens: torch.Tensor, scale: float, dst: torch.Tensor) -> None:
        """dst[m] = scale · table[tokens[m]]"""
        ...

    def norm(self, src: torch.Tensor, norm: RowNorm) -> None:
        """norm.dst = RMSNorm(src). The two may be the same."""
        ...

    def linear(self, x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, dst: torch.Tensor) -> None:
        """dst [M, N] = x · weightᵀ + bias"""
        ...

    def partials(self, x: torch.Tensor, weight: Weight) -> torch.Tensor:
        """[P, M, N], which add up to x · weightᵀ."""
        ...

    def add(
        self, y: torch.Tensor, bias: torch.Tensor | None, scale: float, residual: torch.Tensor, norm: RowNorm | None
    ) -> None:
        """residual += scale · (Σ_p y[p] + bias), y being [P, M, N]; then `norm` of the residual, if there is one."""
        ...

    def gate(self, gate_up: torch.Tensor, activation: str, dst: torch.Tensor) -> None:
        """dst [M, N] = activation(gate_up[:, :N]) · gate_up[:, N:]"""
        ...

    def experts(self, x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None, dst: torch.Tensor) -> None:
        """dst [M, K] = a mixture of experts of x [M, K], as `program.Experts` says; `shared` [M, K] may be `dst`."""
        ...

    def store_kv(
        self,
        qkv: torch.Tensor,
        pages: Pages,
        inputs: StepInputs,
        heads: Heads,
        norms: HeadNorms,
        rope: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> None:
        """Normalise and rotate q and k of `qkv`, q in place; k and v go to their pages. `rope`: cos and sin, or none."""
        ...

    def attend(
        self, qkv: torch.Tensor, pages: Pages, inputs: StepInputs, heads: Heads, scores: Scores, dst: torch.Tensor
    ) -> None:
        """dst [M, q heads · head_dim] = attention of every row over what its sequence holds up to and with the row."""
        ...
