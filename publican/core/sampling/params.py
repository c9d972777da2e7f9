"""`SamplingParams`: how the next token is chosen. Every parameter is declared here, once.

A new sampler is one line here, one file in `engine/sampling`, and its test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId
from publican.core.parameters import Wire, declare, declared

MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """All neutral by default: the model's own distribution, unchanged.

    Raises:
        InvalidParameter: on construction, for a value outside its declared range.
    """

    temperature: float = declare(
        float,
        1.0,
        "Divides the logits: below 1 is bolder, above 1 wilder, 0 always takes the likeliest token.",
        low=0.0,
        aliases=("temp",),
        wire={"ooba": Wire(default=0.5)},
    )
    top_k: int = declare(
        int, 0, "Keeps the k likeliest tokens; 0 keeps all.", low=0, wire={"openai": Wire(off=(-1,)), "ooba": Wire(off=(-1,))}
    )
    top_p: float = declare(float, 1.0, "Keeps the likeliest tokens that together reach this probability.", low=0.0, high=1.0)
    min_p: float = declare(float, 0.0, "Drops tokens less likely than this share of the likeliest one.", low=0.0, high=1.0)
    repetition_penalty: float = declare(
        float,
        1.0,
        "Divides the positive and multiplies the negative logits of tokens already there.",
        low=0.0,
        low_open=True,
        aliases=("rep_pen", "repeat_penalty"),
        wire={"ooba": Wire(default=1.1)},
    )
    repetition_penalty_range: int = declare(
        int, 0, "How many of the last tokens the penalties look at; 0 is all of them.", low=0, aliases=("rep_pen_range",)
    )
    presence_penalty: float = declare(
        float, 0.0, "Subtracted from the logit of every token already there.", low=-2.0, high=2.0, aliases=("presence_pen",)
    )
    frequency_penalty: float = declare(
        float,
        0.0,
        "Subtracted from a token's logit once for each time it is already there.",
        low=-2.0,
        high=2.0,
        aliases=("frequency_pen",),
    )
    seed: int | None = declare(int, None, "Makes the choices repeatable; none means a new one each time.", low=0, high=MAX_SEED)
    logit_bias: tuple[tuple[TokenId, float], ...] = field(default=())
    """(token, what is added to its logit), each token at most once; -100 or less is as good as a ban."""

    def __post_init__(self) -> None:
        for name, parameter in SAMPLING_PARAMETERS.items():
            parameter.check(getattr(self, name))
        seen = {token for token, _ in self.logit_bias}
        if len(seen) != len(self.logit_bias):
            raise InvalidParameter("logit_bias", "names a token twice.")
        if not all(-1e4 <= bias <= 1e4 for _, bias in self.logit_bias):
            raise InvalidParameter("logit_bias", "must hold numbers between -10000 and 10000.")

    def for_choice(self, index: int) -> SamplingParams:
        """The same for answer `index` of several: it gets a seed of its own."""
        if index == 0 or self.seed is None:
            return self
        return replace(self, seed=(self.seed + index) & MAX_SEED)

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0


SAMPLING_PARAMETERS = declared(SamplingParams)
"""Every declared sampling parameter by its canonical name."""
