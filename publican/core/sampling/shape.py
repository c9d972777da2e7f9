"""The parameters that reshape or cut a distribution: temperatures, truncation, XTC. Declarations only.

`SamplingParams` (params.py) is the whole; this is the first link of its chain. Facts: section 2 of the sampler notes.
"""

from __future__ import annotations

from dataclasses import dataclass

from publican.core.parameters import Wire, declare
from publican.core.sampling.dialects import MINUS_ONE_IS_OFF, OOBA, everywhere

_CLAMPED = everywhere(("kobold", "aphrodite", *OOBA), Wire(clamp=True))


@dataclass(frozen=True, slots=True)
class Shape:
    """Temperatures and truncation; all neutral by default."""

    temperature: float = declare(
        float,
        1.0,
        "Divides the logits: below 1 is bolder, above 1 wilder, 0 always takes the likeliest token.",
        low=0.0,
        aliases=("temp",),
        wire={
            "ooba": Wire(default=0.5),
            "kobold": Wire(default=0.75),
            "llamacpp": Wire(default=0.8, clamp=True),
            "ollama": Wire(default=0.8),
        },
        group="shape",
    )
    temperature_last: bool = declare(
        bool,
        False,
        "Moves all that temperature does behind the truncation, so that it chooses among the survivors.",
        group="shape",
    )
    dynamic_temperature: bool = declare(
        bool,
        False,
        "Takes the temperature from how unsure the model is, between dynatemp_low and dynatemp_high.",
        aliases=("dynatemp",),
        group="shape",
    )
    dynatemp_low: float = declare(
        float,
        1.0,
        "The temperature of a distribution that is certain.",
        low=0.0,
        high=100.0,
        aliases=("dynatemp_min", "min_temp"),
        group="shape",
    )
    dynatemp_high: float = declare(
        float,
        1.0,
        "The temperature of a distribution that knows nothing.",
        low=0.0,
        high=100.0,
        aliases=("dynatemp_max", "max_temp"),
        group="shape",
    )
    dynatemp_exponent: float = declare(
        float,
        1.0,
        "Bends the way from dynatemp_low to dynatemp_high; above 1 stays low longer.",
        low=0.0,
        high=100.0,
        aliases=("temp_exponent",),
        wire={"kobold": Wire(clamp=True)},
        group="shape",
    )
    dynatemp_range: float = declare(
        float,
        0.0,
        "Dynamic temperature, said as how far it may go below and above the temperature.",
        low=0.0,
        high=100.0,
        negative_off=True,
        group="shape",
    )
    smoothing_factor: float = declare(
        float,
        0.0,
        "Quadratic sampling: pulls the best tokens together and pushes the rest away.",
        low=0.0,
        high=100.0,
        group="shape",
    )
    smoothing_curve: float = declare(
        float,
        1.0,
        "Bends quadratic sampling: above 1 spares the middle and drops the tail faster.",
        low=1.0,
        high=3.0,
        wire=_CLAMPED,
        group="shape",
    )
    top_k: int = declare(
        int,
        0,
        "Keeps the k likeliest tokens; 0 keeps all.",
        low=0,
        high=2**31 - 1,
        wire={
            **everywhere(MINUS_ONE_IS_OFF, Wire(off=(-1,))),
            "kobold": Wire(default=100, off=(-1,)),
            "llamacpp": Wire(default=40, clamp=True),
            "ollama": Wire(default=40, clamp=True),
        },
        group="truncation",
    )
    top_p: float = declare(
        float,
        1.0,
        "Keeps the likeliest tokens that together reach this probability.",
        low=0.0,
        high=1.0,
        wire={
            "ooba_openai": Wire(default=0.95),
            "kobold": Wire(default=0.92),
            "llamacpp": Wire(default=0.95, clamp=True),
            "ollama": Wire(default=0.9),
        },
        group="truncation",
    )
    min_p: float = declare(
        float,
        0.0,
        "Drops tokens less likely than this share of the likeliest one.",
        low=0.0,
        high=1.0,
        wire={"llamacpp": Wire(default=0.05, clamp=True)},
        group="truncation",
    )
    typical_p: float = declare(
        float,
        1.0,
        "Keeps the tokens whose surprise is nearest to the expected one, up to this probability together.",
        low=0.0,
        high=1.0,
        low_open=True,
        aliases=("typical",),
        group="truncation",
    )
    tfs: float = declare(
        float,
        1.0,
        "Tail-free sampling: cuts where the curve of sorted probabilities flattens out.",
        low=0.0,
        high=1.0,
        aliases=("tfs_z",),
        group="truncation",
    )
    top_a: float = declare(
        float,
        0.0,
        "Drops tokens less likely than this times the square of the likeliest one.",
        low=0.0,
        high=1.0,
        group="truncation",
    )
    epsilon_cutoff: float = declare(
        float,
        0.0,
        "Drops tokens less likely than this.",
        low=0.0,
        high=1.0,
        wire=everywhere(OOBA, Wire(scale=1e-4)),
        group="truncation",
    )
    eta_cutoff: float = declare(
        float,
        0.0,
        "Drops tokens less likely than this, or than a bound that falls with the entropy, whichever is lower.",
        low=0.0,
        high=1.0,
        wire=everywhere(OOBA, Wire(scale=1e-4)),
        group="truncation",
    )
    top_n_sigma: float = declare(
        float,
        0.0,
        "Keeps the tokens whose logit is within this many standard deviations of the highest.",
        low=0.0,
        high=100.0,
        negative_off=True,
        aliases=("nsigma",),
        group="truncation",
    )
    top_h: float = declare(
        float,
        1.0,
        "Keeps the likeliest tokens that together hold this share of the entropy of the best hundred.",
        low=0.0,
        high=1.0,
        low_open=True,
        group="truncation",
    )
    p_less: bool = declare(
        bool, False, "Drops tokens less likely than two draws are to agree; it has no dial.", group="truncation"
    )
    min_keep: int = declare(
        int,
        0,
        "No truncation leaves fewer tokens than this.",
        low=0,
        high=2**31 - 1,
        aliases=("min_tokens_to_keep",),
        group="truncation",
    )
    xtc_probability: float = declare(
        float,
        0.0,
        "How often XTC (exclude top choices) acts.",
        low=0.0,
        high=1.0,
        wire={"llamacpp": Wire(clamp=True)},
        group="truncation",
    )
    xtc_threshold: float = declare(
        float,
        0.1,
        "When XTC acts, of the tokens at least this likely only the least likely stays; above 0.5 it never does.",
        low=0.0,
        high=1.0,
        wire={"kobold": Wire(default=0.2), "llamacpp": Wire(clamp=True)},
        group="truncation",
    )
    skew: float = declare(
        float,
        0.0,
        "Bends the final probabilities: above 0 towards the less likely tokens, below 0 towards the top.",
        low=-10.0,
        high=10.0,
        group="truncation",
    )
