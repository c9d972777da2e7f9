"""`SamplingParams`: how the next token is chosen. Every parameter is declared once, in the links of its chain.

    Shape (shape.py)  ←  Penalties (penalties.py)  ←  Control (control.py)  ←  SamplingParams

A new sampler is one declaration there, one file in `engine/sampling`, and its test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId
from publican.core.parameters import declare, declared
from publican.core.sampling.control import MAX_SEED, Control
from publican.core.sampling.orders import STEPS

GREEDY_BELOW = 1e-5
"""A temperature below this always takes the likeliest token; dividing by it would leave the range of float32."""


@dataclass(frozen=True, slots=True)
class SamplingParams(Control):
    """All neutral by default: the model's own distribution, unchanged.

    Raises:
        InvalidParameter: on construction, for a value outside its declared range.
    """

    logit_bias: tuple[tuple[TokenId, float], ...] = declare(
        tuple,
        (),
        "What is added to the logits of single tokens, each named at most once; -100 or less is as good as a ban.",
        group="bans",
    )
    text_bias: tuple[tuple[str, float], ...] = declare(
        tuple, (), "What is added to the logits of every token of a text; the host turns it into logit_bias.", group="bans"
    )
    order: tuple[str, ...] = declare(
        tuple,
        (),
        "The steps in the order in which they run; what is not named does not run. Empty is publican's own order.",
        group="selection",
    )

    def __post_init__(self) -> None:
        for name, parameter in DECLARED.items():
            parameter.check(getattr(self, name))
        _check_bias(self.logit_bias)
        unknown = [step for step in self.order if step not in STEPS]
        if unknown:
            raise InvalidParameter("order", f"knows no step {unknown[0]!r:.60}; there are {', '.join(STEPS)}.")

    def for_choice(self, index: int) -> SamplingParams:
        """The same for answer `index` of several: it gets a seed of its own."""
        if index == 0 or self.seed is None:
            return self
        return replace(self, seed=(self.seed + index) & MAX_SEED)

    @property
    def is_greedy(self) -> bool:
        return not self.do_sample or (self.temperature < GREEDY_BELOW and self.dynatemp_bounds is None)

    @property
    def dynatemp_bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest dynamic temperature, or None where it is off."""
        if self.dynatemp_range > 0.0:
            return max(0.0, self.temperature - self.dynatemp_range), self.temperature + self.dynatemp_range
        return (self.dynatemp_low, self.dynatemp_high) if self.dynamic_temperature else None


def _check_bias(bias: tuple[tuple[TokenId, float], ...]) -> None:
    if len({token for token, _ in bias}) != len(bias):
        raise InvalidParameter("logit_bias", "names a token twice.")
    if not all(math.isfinite(value) and -1e4 <= value <= 1e4 for _, value in bias):
        raise InvalidParameter("logit_bias", "must hold numbers between -10000 and 10000.")


DECLARED = declared(SamplingParams)
"""Every declared parameter, the structured ones too."""

SAMPLING_PARAMETERS = {name: p for name, p in DECLARED.items() if name not in ("logit_bias", "text_bias", "order")}
"""Every declared parameter that `from_wire` reads by itself; the others differ too much between dialects (see wire.py)."""
