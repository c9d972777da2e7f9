"""Bodies of ``/v1/internal`` to requests, and what comes of them to JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import sampling_from
from publican.apis.fold import Fold
from publican.apis.ooba_openai.schema import LogitsBody
from publican.apis.token_text import piece_name
from publican.core.backend import ModelCard
from publican.core.request import Request, Stopping, TextPrompt, Wanted, new_request_id
from publican.core.sampling import SamplingParams

NAME = "ooba_openai"


def logits(body: Mapping[str, Any], asking: Asking) -> Request:
    """A request for one token and those that could stand in its place; any may, the end of the answer too.

    Raises InvalidRequest.
    """
    sent = LogitsBody.of(body)
    sampling = SamplingParams()
    if sent.use_samplers:
        sampling = replace(sampling_from(NAME, body, asking.presets), processed_logprobs=True)
    stopping = Stopping(max_tokens=1, ignore_eos=True)
    prompt, wanted = TextPrompt(sent.prompt, sent.add_bos_token), Wanted(logprobs=sent.top_logits)
    return Request(prompt, sampling, stopping, wanted, None, asking.caller, NAME, new_request_id("logits"))


def probabilities(fold: Fold) -> dict[str, float]:
    """How likely each of the likeliest tokens is; of two that look alike, the likelier."""
    tokens = fold.choice(0).tokens
    found: dict[str, float] = {}
    for top in tokens[0].top if tokens else ():
        found.setdefault(piece_name(top.piece), math.exp(top.logprob))
    return found


def info(card: ModelCard | None) -> dict[str, Any]:
    """``"None"`` is what these clients take for no model."""
    loader = card.details.get("loader") if card else None
    return {"model_name": card.name if card else "None", "lora_names": [], "loader": loader}
