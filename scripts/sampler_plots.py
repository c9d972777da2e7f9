"""What each sampler does to a distribution, as SVG: publican's own pipeline on two made-up rows of logits.

Every plot has a row of a model that is sure and one of a model that is not, and a column per value of the parameter. Used by
make_sampler_docs.py; needs nothing but publican.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.pipeline import Draw, Pipeline

NUM_TOKENS = 24
_PLACES = np.arange(NUM_TOKENS)
LOGITS = {"sure": -1.35 * _PLACES**0.62, "unsure": -0.14 * _PLACES}
"""Tokens are in order of their probability, so that bars fall from left to right before anything is done to them."""

_BEFORE, _AFTER, _TEXT = "#9aa4b2", "#3b7dd8", "#7d8590"
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP = 190, 84, 14, 52, 22


@dataclass(frozen=True, slots=True)
class Plot:
    """One sampler.

    Attributes:
        columns: what is written above each, and the parameters under which it is drawn.
        always: further parameters of all columns.
        text: the tokens that are there already; the marked ones under the bars.
        unconditional: how much less likely each place to the right is without the prompt, for guidance.
    """

    columns: Mapping[str, Mapping[str, Any]]
    always: Mapping[str, Any] = field(default_factory=dict)
    text: tuple[int, ...] = ()
    unconditional: float | None = None


def _values(name: str, *values: Any) -> dict[str, dict[str, Any]]:
    return {f"{name} = {value}": {name: value} for value in values}


_SAID = (2, 5, 1, 9, 2, 5)
_BIASED = ((TokenId(1), -1.5), (TokenId(6), 2.0), (TokenId(12), 3.0))

PLOTS: dict[str, Plot] = {
    "temperature": Plot(_values("temperature", 0.5, 1.5, 3.0)),
    "dynamic_temperature": Plot(
        {
            "0.5 to 1.5": {"dynatemp_low": 0.5, "dynatemp_high": 1.5},
            "0.2 to 3": {"dynatemp_low": 0.2, "dynatemp_high": 3.0},
            "0.2 to 3, exponent 4": {"dynatemp_low": 0.2, "dynatemp_high": 3.0, "dynatemp_exponent": 4.0},
        },
        {"dynamic_temperature": True},
    ),
    "smoothing_factor": Plot(
        {
            **_values("smoothing_factor", 0.2, 1.0),
            "smoothing_factor = 0.2, curve 2": {"smoothing_factor": 0.2, "smoothing_curve": 2.0},
        }
    ),
    "top_k": Plot(_values("top_k", 2, 6, 12)),
    "top_p": Plot(_values("top_p", 0.5, 0.8, 0.95)),
    "min_p": Plot(_values("min_p", 0.05, 0.2, 0.5)),
    "typical_p": Plot(_values("typical_p", 0.2, 0.5, 0.9)),
    "tfs": Plot(_values("tfs", 0.5, 0.9, 0.99)),
    "top_a": Plot(_values("top_a", 0.1, 0.3, 1.0)),
    "epsilon_cutoff": Plot(_values("epsilon_cutoff", 0.01, 0.03, 0.06)),
    "eta_cutoff": Plot(_values("eta_cutoff", 0.01, 0.05, 0.2)),
    "top_n_sigma": Plot(_values("top_n_sigma", 0.5, 1.0, 2.0)),
    "top_h": Plot(_values("top_h", 0.2, 0.4, 0.7)),
    "p_less": Plot({"p_less": {"p_less": True}, "after temperature 2": {"p_less": True, "temperature": 2.0}}),
    "min_keep": Plot({"min_p = 0.5, min_keep = 3": {"min_p": 0.5, "min_keep": 3}, "6": {"min_p": 0.5, "min_keep": 6}}),
    "xtc_probability": Plot(
        {f"threshold {t}, when it acts": {"xtc_threshold": t} for t in (0.05, 0.08, 0.12)}, {"xtc_probability": 1.0}
    ),
    "skew": Plot(_values("skew", -1.0, 0.5, 2.0)),
    "repetition_penalty": Plot(_values("repetition_penalty", 1.1, 1.3, 2.0), text=_SAID),
    "presence_penalty": Plot(_values("presence_penalty", -0.5, 0.5, 1.5), text=_SAID),
    "frequency_penalty": Plot(_values("frequency_penalty", -0.5, 0.5, 1.5), text=_SAID),
    "encoder_repetition_penalty": Plot(_values("encoder_repetition_penalty", 1.1, 1.5), text=_SAID),
    "no_repeat_ngram_size": Plot(_values("no_repeat_ngram_size", 2, 3), text=_SAID),
    "encoder_no_repeat_ngram_size": Plot(_values("encoder_no_repeat_ngram_size", 2, 3), text=_SAID),
    "dry_multiplier": Plot(_values("dry_multiplier", 0.4, 0.8, 3.0), {"dry_sequence_breakers": ()}, text=_SAID),
    "mirostat_mode": Plot(
        {
            "mirostat 1, tau 2": {"mirostat_mode": 1, "mirostat_tau": 2.0},
            "mirostat 2, tau 1": {"mirostat_mode": 2, "mirostat_tau": 1.0},
            "mirostat 2, tau 2": {"mirostat_mode": 2, "mirostat_tau": 2.0},
        }
    ),
    "adaptive_target": Plot(_values("adaptive_target", 0.05, 0.2, 0.6)),
    "logit_bias": Plot({"-1.5, +2, +3 on three tokens": {"logit_bias": _BIASED}}),
    "guidance_scale": Plot(_values("guidance_scale", 0.5, 1.5, 3.0), unconditional=0.08),
}
"""By the parameter under which it stands in the docs."""


def svg(name: str) -> str:
    """The plot of `PLOTS[name]`."""
    plot = PLOTS[name]
    width = _LEFT + len(plot.columns) * (_WIDTH + _GAP)
    height = _TOP + len(LOGITS) * (_HEIGHT + _GAP) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11" fill="{_TEXT}">',
        f"<title>{name}: probabilities before (grey) and after (blue)</title>",
    ]
    for x, label in enumerate(plot.columns):
        parts.append(f'<text x="{_LEFT + x * (_WIDTH + _GAP)}" y="14">{label}</text>')
    for y, row in enumerate(LOGITS):
        top = _TOP + y * (_HEIGHT + _GAP)
        parts.append(f'<text x="{_LEFT - 6}" y="{top + _HEIGHT}" text-anchor="end">{row}</text>')
        for x, params in enumerate(plot.columns.values()):
            before, after = distributions(plot, row, params)
            parts += _panel(_LEFT + x * (_WIDTH + _GAP), top, before, after, set(plot.text))
    return "\n".join([*parts, "</svg>", ""])


def distributions(plot: Plot, row: str, params: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of the tokens before and after."""
    logits = [LOGITS[row].astype(np.float64)]
    if plot.unconditional is not None:
        logits.append(logits[0] - plot.unconditional * _PLACES[::-1])
    pipeline = Pipeline(Vocabulary(tuple(bytes([97 + i]) for i in range(NUM_TOKENS))))
    sampler = pipeline.add(SamplingParams(seed=1, **{**plot.always, **params}), [TokenId(token) for token in plot.text])
    draw = Draw(sampler, 0, uncond_row=1 if len(logits) > 1 else None)
    return _softmax(logits[0]), _softmax(pipeline.process(np.array(logits), [draw])[0])


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def _panel(left: int, top: int, before: NDArray[np.float64], after: NDArray[np.float64], marked: set[int]) -> list[str]:
    """Bars whose height is the root of the probability, so that a tail can be seen; a dot under what was said before."""
    step, base = _WIDTH / NUM_TOKENS, top + _HEIGHT
    dots = "".join(
        f'<circle cx="{left + (i + 0.5) * step:.1f}" cy="{base + 5}" r="1.5"/>' for i in range(NUM_TOKENS) if i in marked
    )
    line = f'<path d="M{left} {base}.5H{left + _WIDTH}" stroke="{_TEXT}" stroke-width=".5"/>'
    return [_bars(before, left, base, step, 0.86, _BEFORE, 0.45), _bars(after, left, base, step, 0.5, _AFTER, 1.0), line + dots]


def _bars(
    probabilities: NDArray[np.float64], left: int, base: int, step: float, share: float, colour: str, opacity: float
) -> str:
    width = share * step
    bars = []
    for i, probability in enumerate(probabilities.tolist()):
        height = round(_HEIGHT * probability**0.5, 1)
        if height > 0.0:
            bars.append(f"M{left + (i + 0.5) * step - width / 2:.1f} {base}v-{height}h{width:.1f}v{height}z")
    return f'<path fill="{colour}" fill-opacity="{opacity}" d="{"".join(bars)}"/>'
