"""Which steps run for a request, and in which order: the parameters made into a list of names. Pure.

The pipeline and its plain twin both go by this list. Semantics: sections 3 and 4 of the sampler notes; what is peculiar:

* A greedy request runs only the penalties: truncation cannot change which token is the likeliest, and nothing random runs.
* Dynamic temperature takes the place of temperature.
* Mirostat cuts by itself: behind the temperatures nothing else does (a dialect may want it otherwise).
* Adaptive-p spreads over everything that is left, so where nothing cuts before it, a min_p of 0.002 does.
"""

from __future__ import annotations

from collections.abc import Callable

from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import (
    PENALTY_STEPS,
    STEPS,
    TRUNCATION_STEPS,
    temperature_behind_truncation,
)

ADAPTIVE_FLOOR = "adaptive_floor"
ADAPTIVE_FLOOR_MIN_P = 0.002
SELECTORS = ("adaptive_p", "mirostat_1", "mirostat_2")
CUTTING = frozenset((*TRUNCATION_STEPS, ADAPTIVE_FLOOR, "mirostat_1", "mirostat_2"))
"""The steps behind which only survivors are left."""

IS_ON: dict[str, Callable[[SamplingParams], bool]] = {
    "repetition_penalty": lambda p: p.repetition_penalty != 1.0,
    "frequency_penalty": lambda p: p.frequency_penalty != 0.0,
    "presence_penalty": lambda p: p.presence_penalty != 0.0,
    "dry": lambda p: p.dry_multiplier > 0.0,
    "no_repeat_ngram": lambda p: p.no_repeat_ngram_size > 0,
    "encoder_no_repeat_ngram": lambda p: p.encoder_no_repeat_ngram_size > 0,
    "encoder_repetition_penalty": lambda p: p.encoder_repetition_penalty != 1.0,
    "temperature": lambda p: p.temperature != 1.0 and (p.dynatemp_bounds is None or p.dynatemp_keeps_temperature),
    "dynamic_temperature": lambda p: p.dynatemp_bounds is not None,
    "quadratic_sampling": lambda p: p.smoothing_factor > 0.0,
    "top_n_sigma": lambda p: p.top_n_sigma > 0.0,
    "top_k": lambda p: p.top_k > 0,
    "top_p": lambda p: p.top_p < 1.0,
    "min_p": lambda p: p.min_p > 0.0,
    "typical_p": lambda p: p.typical_p < 1.0,
    "tfs": lambda p: p.tfs < 1.0,
    "top_a": lambda p: p.top_a > 0.0,
    "epsilon_cutoff": lambda p: p.epsilon_cutoff > 0.0,
    "eta_cutoff": lambda p: p.eta_cutoff > 0.0,
    "top_h": lambda p: p.top_h < 1.0,
    "p_less": lambda p: p.p_less,
    "xtc": lambda p: p.xtc_probability > 0.0 and p.xtc_threshold <= 0.5,
    "skew": lambda p: p.skew != 0.0,
}
"""Whether a step does anything under these parameters."""


BIAS_STEPS = ("allowed_tokens", "bias", "length_decay", "sequence_bias", "early_end")
"""What runs before all else, whatever the order says."""

_IS_BIASED: dict[str, Callable[[SamplingParams], bool]] = {
    "allowed_tokens": lambda p: bool(p.allowed_tokens),
    "bias": lambda p: bool(p.logit_bias or p.banned_tokens or p.ban_eos_token),
    "length_decay": lambda p: bool(p.exponential_decay_length_penalty),
    "sequence_bias": lambda p: bool(p.sequence_bias),
    "early_end": lambda p: p.min_tokens > 0,
}


def order_of(params: SamplingParams) -> tuple[str, ...]:
    """The order that a request wants, whether or not its steps do anything."""
    order = params.order or STEPS
    return temperature_behind_truncation(order) if params.temperature_last else order


def stack_of(params: SamplingParams) -> tuple[str, ...]:
    """The steps that run for a request, in order; the selector, where there is one, last."""
    biases = tuple(step for step in BIAS_STEPS if _IS_BIASED[step](params))
    return (*biases, *_after_biases(params))


def _after_biases(params: SamplingParams) -> tuple[str, ...]:
    steps = tuple(step for step in order_of(params) if IS_ON[step](params))
    if params.is_greedy:
        return tuple(step for step in steps if step in PENALTY_STEPS)
    if params.mirostat_mode:
        if not params.mirostat_truncates:
            steps = tuple(step for step in steps if step not in TRUNCATION_STEPS and step not in ("xtc", "skew"))
        return (*steps, f"mirostat_{params.mirostat_mode}")
    if params.adaptive_target is not None:
        floor = () if any(step in TRUNCATION_STEPS for step in steps) else (ADAPTIVE_FLOOR,)
        return (*steps, *floor, "adaptive_p")
    return steps
