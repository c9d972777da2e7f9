"""The steps of sampling by name, and the order in which each peer runs them. Data, and the ways peers write an order.

An order is a tuple of step names; it may name a step twice (it then runs twice) or leave one out (it does not run). Masks, bans
and biases always come first, the draw always last; both have no name here. Facts: section 3 of the sampler notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from publican.core.errors import InvalidParameter

PENALTY_STEPS = (
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "dry",
    "no_repeat_ngram",
    "encoder_no_repeat_ngram",
    "encoder_repetition_penalty",
)
TEMPERATURE_STEPS = ("temperature", "dynamic_temperature", "quadratic_sampling")
TRUNCATION_STEPS = (
    "top_n_sigma",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "tfs",
    "top_a",
    "epsilon_cutoff",
    "eta_cutoff",
    "top_h",
    "p_less",
)
STEPS = (*PENALTY_STEPS, *TEMPERATURE_STEPS, *TRUNCATION_STEPS, "xtc", "skew")
"""Every step, in publican's own order."""

_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_HEAT = ("temperature", "dynamic_temperature")


def _flat(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(step for part in parts for step in part)


def _completed(order: tuple[str, ...], known: Iterable[str] | None = None) -> tuple[str, ...]:
    """`order`, with the steps that its peer does not know: penalties in front, the rest behind, before a last XTC and skew."""
    missing = [step for step in STEPS if step not in (order if known is None else known)]
    end = len(order)
    while end and order[end - 1] in ("xtc", "skew"):
        end -= 1
    early = (step for step in missing if step in PENALTY_STEPS)
    late = (step for step in missing if step not in PENALTY_STEPS and step != "skew")
    return (*early, *order[:end], *late, *order[end:], *(("skew",) if "skew" in missing else ()))


def _whole(order: str, parts: Mapping[str, tuple[str, ...]] | None = None) -> tuple[str, ...]:
    """A default order written as names with spaces between, completed."""
    return _completed(_flat((parts or {}).get(name, (name,)) for name in order.split()))


_OOBA_PENALTIES = "repetition_penalty presence_penalty frequency_penalty dry"
_OOBA_HEAT = "temperature dynamic_temperature quadratic_sampling"
_OOBA_REST = (
    "top_k top_p typical_p epsilon_cutoff eta_cutoff tfs top_a min_p xtc encoder_repetition_penalty no_repeat_ngram "
    "encoder_no_repeat_ngram"
)
_SHORT = {"penalties": _PENALTIES, "heat": _HEAT}

KOBOLD_IDS: tuple[tuple[str, ...], ...] = (
    ("top_k",),
    ("top_a",),
    ("top_p", "min_p"),
    ("tfs",),
    ("typical_p",),
    (*TEMPERATURE_STEPS, "top_n_sigma"),
    _PENALTIES,
)
"""What each number in a `sampler_order` runs."""

LLAMACPP_NAMES: dict[str, tuple[str, ...]] = {
    "penalties": _PENALTIES,
    "dry": ("dry",),
    "top_n_sigma": ("top_n_sigma",),
    "top_k": ("top_k",),
    "typ_p": ("typical_p",),
    "top_p": ("top_p",),
    "min_p": ("min_p",),
    "xtc": ("xtc",),
    "temperature": _HEAT,
    "infill": (),
    "adaptive_p": (),
}
"""What each name in `samplers` runs, in llama.cpp's order; each also has a letter, in this order."""

_LLAMACPP_LETTERS = dict(zip("edskypmxtia", LLAMACPP_NAMES, strict=True))
_LLAMACPP_ALIASES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p", "typical": "typ_p", "typicalp": "typ_p"}

_APHRODITE: dict[str, tuple[int, tuple[str, ...]]] = {
    "dry": (7, ("dry",)),
    "penalties": (6, _PENALTIES),
    "no_repeat_ngram": (8, ("no_repeat_ngram",)),
    "temperature": (5, _HEAT),
    "top_nsigma": (9, ("top_n_sigma",)),
    "top_p_top_k": (0, ("top_p", "top_k")),
    "top_a": (1, ("top_a",)),
    "min_p": (2, ("min_p",)),
    "tfs": (3, ("tfs",)),
    "eta_cutoff": (10, ("eta_cutoff",)),
    "epsilon_cutoff": (11, ("epsilon_cutoff",)),
    "typical_p": (4, ("typical_p",)),
    "quadratic": (12, ("quadratic_sampling",)),
    "xtc": (13, ("xtc",)),
}


def _kobold(ids: Sequence[int]) -> tuple[str, ...]:
    return _completed(("dry", *_flat(KOBOLD_IDS[i] for i in ids), "xtc"), known=("dry", *_flat(KOBOLD_IDS), "xtc"))


ORDERS: dict[str, tuple[str, ...]] = {
    "publican": STEPS,
    "ooba": _whole(f"{_OOBA_PENALTIES} top_n_sigma {_OOBA_HEAT} {_OOBA_REST}"),
    "sillytavern": _whole(f"{_OOBA_PENALTIES} {_OOBA_HEAT} top_n_sigma {_OOBA_REST}"),
    "kobold": _kobold((6, 0, 1, 3, 4, 2, 5)),
    "koboldai": _kobold((6, 0, 1, 2, 3, 4, 5)),
    "llamacpp": _completed(_flat(LLAMACPP_NAMES.values())),
    "exllamav2": _whole(
        "penalties dry quadratic_sampling temperature top_k top_p top_a min_p tfs typical_p dynamic_temperature xtc skew",
        _SHORT,
    ),
    "exllamav3": _whole("penalties heat min_p top_k top_p", _SHORT),
    "tabby": _whole("penalties heat top_k top_p min_p xtc", _SHORT),
    "aphrodite": _completed((*_flat(steps for _, steps in _APHRODITE.values()), "skew")),
    "vllm": _whole("penalties heat min_p top_k top_p", _SHORT),
    "transformers": _whole(
        "encoder_repetition_penalty repetition_penalty no_repeat_ngram encoder_no_repeat_ngram "
        "temperature top_h top_k top_p min_p typical_p epsilon_cutoff eta_cutoff"
    ),
    "tgi": _whole("repetition_penalty frequency_penalty heat top_k top_p typical_p", _SHORT),
}
"""Each peer's default order by name, completed with the steps that the peer does not have."""

DEFAULT_ORDERS = {
    "ooba": "ooba",
    "ooba_openai": "ooba",
    "kobold": "kobold",
    "llamacpp": "llamacpp",
    "tabby": "tabby",
    "aphrodite": "aphrodite",
    "vllm": "vllm",
    "tgi": "tgi",
    "ollama": "llamacpp",
}
"""Which of `ORDERS` a dialect means when a request is silent; publican's own for the others."""


def read_order(dialect: str, name: str, value: Any) -> tuple[str, ...]:
    """The order that `value` says, as the clients of `dialect` write it; or one of `ORDERS`, by its name.

    Raises:
        InvalidParameter: it is not an order.
    """
    if isinstance(value, str) and value in ORDERS:
        return ORDERS[value]
    if dialect == "kobold":
        return _kobold(_numbers(name, value, len(KOBOLD_IDS)))
    if dialect in ("llamacpp", "ollama"):
        return _read_llamacpp(name, value)
    if dialect == "aphrodite":
        return _read_aphrodite(name, value)
    names = _names(name, value)
    if dialect in ("ooba", "ooba_openai"):
        return _read_ooba(names)
    unknown = [n for n in names if n not in STEPS and n not in ("mirostat", "adaptive_p")]
    if unknown:
        raise InvalidParameter(name, f"knows no step {unknown[0]!r:.60}; there are {', '.join(STEPS)}.")
    return tuple(n for n in names if n in STEPS)


def temperature_at_end(order: tuple[str, ...]) -> tuple[str, ...]:
    """ooba's `temperature_last`: literally last, XTC and all."""
    return (*(step for step in order if step not in TEMPERATURE_STEPS), *TEMPERATURE_STEPS)


def temperature_behind_truncation(order: tuple[str, ...]) -> tuple[str, ...]:
    """publican's `temperature_last`: behind all truncation, but before XTC and skew where these come last."""
    rest = [step for step in order if step not in TEMPERATURE_STEPS]
    moved = [step for step in order if step in TEMPERATURE_STEPS]
    end = len(rest)
    while end and rest[end - 1] in ("xtc", "skew"):
        end -= 1
    return (*rest[:end], *moved, *rest[end:])


def _read_ooba(names: Sequence[str]) -> tuple[str, ...]:
    """A stable sort by place in the list: what ooba knows and the list lacks comes first."""
    listed = tuple(n for n in names if n in STEPS)
    foreign = ("top_h", "p_less", "skew")
    first = (step for step in ORDERS["ooba"] if step not in listed and step not in foreign)
    return (*first, *listed, *(step for step in foreign if step not in listed))


def _read_llamacpp(name: str, value: Any) -> tuple[str, ...]:
    """What is not named does not run; unknown names are passed over."""
    if isinstance(value, str):
        listed = [_LLAMACPP_LETTERS[letter] for letter in value if letter in _LLAMACPP_LETTERS]
    else:
        bare = {n.replace("_", ""): n for n in LLAMACPP_NAMES} | _LLAMACPP_ALIASES
        listed = [bare.get(n.lower().replace("-", "").replace("_", ""), "infill") for n in _names(name, value)]
    return _completed(_flat(LLAMACPP_NAMES[n] for n in listed), known=_flat(LLAMACPP_NAMES.values()))


def names_adaptive_p(value: Any) -> bool:
    """Whether llama.cpp's `samplers` asks for adaptive-p, without which its parameters do nothing."""
    if isinstance(value, str):
        return "a" in value
    return isinstance(value, list) and any(str(n).lower().replace("-", "_") == "adaptive_p" for n in value)


def _read_aphrodite(name: str, value: Any) -> tuple[str, ...]:
    by_number = {str(number): steps for number, steps in _APHRODITE.values()}
    by_name = {n: steps for n, (_, steps) in _APHRODITE.items()} | by_number
    items = [str(item).strip().lower() for item in value] if isinstance(value, list) else None
    if items is None or len(items) > 64:
        raise InvalidParameter(name, "must be a list of sampler names or numbers.")
    unknown = [item for item in items if item not in by_name]
    if unknown:
        raise InvalidParameter(name, f"knows no sampler {unknown[0]!r:.60}; there are {', '.join(_APHRODITE)}.")
    return _completed(_flat(by_name[item] for item in items), known=_flat(by_number.values()))


def _names(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part.strip() for part in value.replace(",", "\n").split("\n") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value) or len(value) > 256:
        raise InvalidParameter(name, "must be a list of sampler names.")
    return list(value)


def _numbers(name: str, value: Any, count: int) -> list[int]:
    whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in value] if isinstance(value, list) else []
    good = (isinstance(v, int) and not isinstance(v, bool) and 0 <= v < count for v in whole)
    if not isinstance(value, list) or len(whole) > 64 or not all(good):
        raise InvalidParameter(name, f"must be a list of sampler numbers from 0 to {count - 1}.")
    return whole
