"""How positions are stretched when more context is wanted than a model was made for. Pure: facts in, a `Rope` and why out.

The tables themselves are the executors' (`executors/native/rope.py`; libllama's own). One theta serves the whole context,
settled when the model is loaded: keys in the cache would be wrong if it grew with a conversation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from publican.core.errors import SettingsError
from publican.core.model import ModelSpec, Rope, RopeScaling

RopeName = Literal["linear", "dynamic", "ntk", "yarn"]

_CURVE = (0.28833, 0.80541, -0.13436)
"""alpha of the ratio, a fit by TabbyAPI's author: 2.63 for twice the length, which agrees with KoboldCpp's formula (2.64) and
the 2.6 that people used by hand."""
_WORTHWHILE = 4.0


@dataclass(frozen=True, slots=True)
class RopeWish:
    """What a person asked for, as the loaders people know call it. All None leaves it to the length.

    Attributes:
        alpha: NTK's; theta becomes theta × alpha^(d / (d - 2)).
        factor: by how much the context grows (`linear`, `dynamic`, `yarn`); alone it means linear.
    """

    alpha: float | None = None
    factor: float | None = None
    scaling: RopeName | None = None

    @property
    def is_empty(self) -> bool:
        return self.alpha is None and self.factor is None and self.scaling is None


@dataclass(frozen=True, slots=True)
class ChosenRope:
    """`rope` is None where the model's own is used as it is. `reach_len` is how long a context it is good for."""

    rope: Rope | None
    reach_len: int
    why: str


def choose_rope(spec: ModelSpec, wanted_len: int | None, wish: RopeWish) -> ChosenRope:
    """The rotary positions for a context of `wanted_len`; None for whatever the model, or the wish, reaches.

    Raises:
        SettingsError: the wish contradicts itself.
    """
    own_len = own_reach(spec)
    if wish.is_empty:
        if wanted_len is None or wanted_len <= own_len:
            return ChosenRope(None, own_len, _own_text(spec))
        return _stretched(spec, own_len, wanted_len)
    return _as_wished(spec, own_len, wanted_len, wish)


def own_reach(spec: ModelSpec) -> int:
    """The longest context that the model's own scaling was made for: YaRN's files often state the length before it."""
    scaling = spec.rope.scaling
    if scaling.kind == "yarn" and scaling.original_context_len:
        return max(spec.context_len, int(scaling.original_context_len * scaling.factor))
    return spec.context_len


def auto_alpha(ratio: float) -> float:
    """NTK's alpha for a context `ratio` times as long as the trained one."""
    square, linear, constant = _CURVE
    return max(1.0, square * ratio * ratio + linear * ratio + constant) if ratio > 1 else 1.0


def reach_of_alpha(alpha: float) -> float:
    """The other way round: how many times the trained context `alpha` is good for."""
    square, linear, constant = _CURVE
    return max(1.0, (math.sqrt(linear * linear - 4 * square * (constant - alpha)) - linear) / (2 * square))


def _own_text(spec: ModelSpec) -> str:
    kind = spec.rope.scaling.kind
    return "the model's own positions" if kind == "none" else f"the model's own scaling ({kind})"


def _stretched(spec: ModelSpec, own_len: int, wanted_len: int) -> ChosenRope:
    """Beyond the model's reach with nothing asked: its own method further, else NTK."""
    rope, ratio = spec.rope, wanted_len / own_len
    scaling = rope.scaling
    longer = f"{wanted_len:,} of {own_len:,} tokens"
    match scaling.kind:
        case "dynamic":
            return ChosenRope(None, wanted_len, f"{longer}: the model's own dynamic scaling grows with it")
        case "yarn" | "llama3":
            grown = replace(rope, scaling=replace(scaling, factor=scaling.factor * ratio))
            why = f"{longer}: the model's own {scaling.kind}, factor {grown.scaling.factor:.3g} instead of {scaling.factor:.3g}"
            return ChosenRope(grown, wanted_len, why + _warning(ratio))
        case _:
            alpha = auto_alpha(ratio)
            grown = _with_alpha(rope, alpha)
            return ChosenRope(
                grown, wanted_len, f"{longer}: NTK with alpha {alpha:.3g}, {_thetas(rope, alpha)}{_warning(ratio)}"
            )


def _as_wished(spec: ModelSpec, own_len: int, wanted_len: int | None, wish: RopeWish) -> ChosenRope:
    scaling = wish.scaling or ("ntk" if wish.factor is None else "linear")
    _check(wish, scaling)
    if scaling == "ntk":
        if wish.alpha is None and wanted_len is None:
            raise SettingsError("--rope-scaling ntk needs a length or a strength; add --ctx or --alpha.")
        alpha = wish.alpha or auto_alpha((wanted_len or own_len) / own_len)
        reach = wanted_len or _rounded(own_len * reach_of_alpha(alpha))
        return ChosenRope(
            _with_alpha(spec.rope, alpha), reach, f"as asked: NTK with alpha {alpha:.3g}, {_thetas(spec.rope, alpha)}"
        )
    factor = wish.factor or max(1.0, (wanted_len or own_len) / own_len)
    if wish.factor is None and wanted_len is None:
        raise SettingsError(f"--rope-scaling {scaling} needs a length or a factor; add --ctx or --rope-factor.")
    reach = wanted_len or _rounded(own_len * factor)
    if scaling == "dynamic":  # one theta for the whole context, that of its full length
        alpha = max(1.0, factor * reach / own_len - (factor - 1))
        why = f"as asked: dynamic with factor {factor:.3g}, settled for {reach:,} tokens: alpha {alpha:.3g}"
        return ChosenRope(_with_alpha(replace(spec.rope, scaling=RopeScaling()), alpha), reach, why)
    rope = replace(spec.rope, scaling=RopeScaling(scaling, factor, original_context_len=own_len))
    if wish.alpha is not None:
        rope = _with_alpha(rope, wish.alpha)
    also = "" if wish.alpha is None else f" and {_thetas(spec.rope, wish.alpha)}"
    return ChosenRope(rope, reach, f"as asked: {scaling} with factor {factor:.3g}{also}")


def _check(wish: RopeWish, scaling: RopeName) -> None:
    if scaling == "ntk" and wish.factor is not None:
        raise SettingsError("--rope-factor does not go with ntk, whose strength is --alpha; say one of the two.")
    if scaling == "dynamic" and wish.alpha is not None:
        raise SettingsError("--alpha does not go with dynamic, whose strength is --rope-factor; say one of the two.")


def _with_alpha(rope: Rope, alpha: float) -> Rope:
    """NTK-aware, upon whatever scaling there is already."""
    if rope.scaling.kind == "none":
        return replace(rope, scaling=RopeScaling("ntk", alpha=alpha))
    return replace(rope, theta=_theta(rope, alpha))


def _theta(rope: Rope, alpha: float) -> float:
    return rope.theta * alpha ** (rope.dim / (rope.dim - 2)) if rope.dim > 2 else rope.theta


def _thetas(rope: Rope, alpha: float) -> str:
    return f"theta {_theta(rope, alpha):,.0f} instead of {rope.theta:,.0f}"


def _warning(ratio: float) -> str:
    return "" if ratio <= _WORTHWHILE else "; answers suffer at more than four times the length, try --rope-scaling yarn"


def _rounded(length: float) -> int:
    return max(256, int(length) // 256 * 256)
