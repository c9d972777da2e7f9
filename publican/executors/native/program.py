"""A model as a list of operations: made once when it is loaded, run once per step by every backend.

Operations read and write *buffers*: float32 matrices with one row for each token of the step, named and sized here. A
backend may keep them in any form it likes and fuse neighbours (norm + quantise, linear + residual), as long as the
numbers come out as `plain` makes them. `rows` in the comments are the step's tokens; M of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.layout import DenseMatrix, Matrix

Floats = NDArray[np.float32]
Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What adapter number `adapter` adds to the product y of a linear layer, for its own rows only:

    y[:, column:] += scale · up · (down · src), with `down` [rank, inputs] and `up` [outputs of it, rank].
    """

    adapter: int
    down: DenseMatrix
    up: DenseMatrix
    scale: float
    column: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Embed:
    """dst[m] = scale · table[token of row m]"""

    dst: str
    table: Matrix
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """dst = src / sqrt(mean(src²) + eps) · weight, row by row (RMSNorm). `src` may be `dst`."""

    src: str
    dst: str
    weight: Floats
    eps: float


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = weight · src + bias + what adapters add, then dst[:, column:] = y, or with `add`: dst += scale · y (the residual)."""

    src: str
    dst: str
    weight: Matrix
    bias: Floats | None = None
    add: bool = False
    scale: float = 1.0
    column: int = 0
    adapters: tuple[LowRank, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GatedLinear:
    """dst = activation(gate · src) · (up · src), with what adapters add to either product."""

    src: str
    dst: str
    gate: Matrix
    up: Matrix
    activation: Activation = "silu"
    gate_adapters: tuple[LowRank, ...] = ()
    up_adapters: tuple[LowRank, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Expert:
    """One small feed-forward layer: x becomes down · (activation(gate · x) · (up · x))."""

    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """A mixture of experts: every row goes through the few that it chooses, and what they give is weighted and added.

    Row by row, over all experts e:

        p = softmax(router · src)
        C = the `num_chosen` experts of the largest p, the lower number first among equals
        w = p[C], or p[C] / Σ p[C] where `normalised`
        dst = Σ_{e in C} w[e] · expert e (src)  +  sigmoid(shared_gate · src) · shared

    The last term only where there is a `shared_gate`: `shared` is a buffer with what an expert gave that every row goes
    through, and may be `dst`. A row's sum is made in the order of C, whoever is in the batch with it.

    Attributes:
        router: float32 [E, width of src]; choices hang on it, so it is never rounded.
        experts: E of them, all of one shape. Gone through once, as `Program.ops` is, and for the same reason.
        ffn_size: outputs of an expert's gate.
        shared_gate: float32 [width of src].
    """

    src: str
    dst: str
    router: Floats
    experts: Iterable[Expert]
    num_chosen: int
    ffn_size: int
    normalised: bool = True
    activation: Activation = "silu"
    shared: str = ""
    shared_gate: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """dst += scale · src"""

    src: str
    dst: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class StoreKV:
    """Normalise (optional) and rotate q and k, then write k and v to the KV cache of `layer` at the rows' positions.

    `src` holds [q heads | k heads | v heads], each `head_dim` wide; q stays there, rotated. Rotation is NeoX's: number i
    goes with number i + dim/2 of the head's first `dim` numbers; `rope` indexes `Program.ropes`, -1 is no rotation.

    `q_norm`, `k_norm`: RMSNorm weights, over each head (width head_dim) or over all heads together (heads · head_dim).
    """

    src: str
    layer: int
    rope: int
    q_norm: Floats | None = None
    k_norm: Floats | None = None
    eps: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Attend:
    """dst = softmax(scale · q · k, causal) · v over what the row's slot holds in `layer`, up to and with the row itself.

    `window` > 0: only the last `window` positions, the row's own among them. `softcap` > 0: scores become
    softcap · tanh(score / softcap) before the softmax.
    """

    src: str
    dst: str
    layer: int
    scale: float
    window: int = 0
    softcap: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Logits:
    """For the rows that want logits only: y = scale · weight · norm(src), soft-capped. The last operation.

    The normalised rows are what `StepResult.hidden` gives for the rows that want hidden states.
    """

    src: str
    norm: Floats
    eps: float
    weight: Matrix
    scale: float = 1.0
    softcap: float = 0.0


Op = Embed | Norm | Linear | GatedLinear | Experts | Add | StoreKV | Attend | Logits


@dataclass(frozen=True, slots=True, eq=False)
class RopeTable:
    """cos and sin, float32 [context_len, dim / 2], with the scaling's own factor in them."""

    cos: Floats
    sin: Floats

    @property
    def dim(self) -> int:
        return 2 * self.cos.shape[1]


class KVPlace(NamedTuple):
    """Where a layer's keys and values are: whether among the windowed pages, and which layer of those it is."""

    is_windowed: bool
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A loaded model.

    Attributes:
        ops: what to run, in order. A backend goes through them once, packing each one's weights as it comes and letting go
            of the rest: a program that is being loaded makes them on the way, so that no two tensors need be in memory
            at once. Only a tied output is the very object that `Embed` had.
        buffers: width of each buffer, in numbers.
        num_layers: layers of KV cache.
        windows: the window of each layer, 0 for none, so that a backend may keep only what is needed.
        num_adapters: how many adapters the operations may have additions of.
    """

    ops: Iterable[Op]
    buffers: Mapping[str, int]
    ropes: tuple[RopeTable, ...]
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    context_len: int
    windows: tuple[int, ...] = ()
    num_adapters: int = 0

    @property
    def window(self) -> int:
        """How far back the layers look that do not look at everything; 0 if all do."""
        return max(self.windows, default=0)

    def kv_places(self, windows_apart: bool) -> tuple[KVPlace, ...]:
        """Where each layer's keys and values go; with `windows_apart`, those with a window to pages of their own."""
        counts = [0, 0]
        places = []
        for layer in range(self.num_layers):
            is_windowed = windows_apart and bool(self.windows[layer])
            places.append(KVPlace(is_windowed, counts[is_windowed]))
            counts[is_windowed] += 1
        return tuple(places)

    def num_kv_layers(self, windows_apart: bool) -> tuple[int, int]:
        """Layers whose pages are for good, and layers whose pages are given back."""
        num_windowed = sum(place.is_windowed for place in self.kv_places(windows_apart))
        return self.num_layers - num_windowed, num_windowed
