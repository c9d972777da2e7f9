"""What llama.cpp's answers say of the settings they were made with. Pure: from the declarations of `core.sampling`."""

from __future__ import annotations

from typing import Any

from publican.core.parameters import wire_names
from publican.core.request import Request
from publican.core.sampling import DECLARED, SamplingParams

_NAMES = {name: (wire_names(parameter, "llamacpp") or (name,))[0] for name, parameter in DECLARED.items()}


def sampling_settings(params: SamplingParams) -> dict[str, Any]:
    """Every sampling parameter under llama.cpp's name for it."""
    return {wire: _plain(getattr(params, name)) for name, wire in _NAMES.items()}


def generation_settings(request: Request, stream: bool) -> dict[str, Any]:
    """The same, and how an answer ends."""
    max_tokens = -1 if request.stopping.max_tokens is None else request.stopping.max_tokens
    return {
        **sampling_settings(request.sampling),
        "samplers": list(request.sampling.order),
        "logit_bias": _plain(request.sampling.logit_bias),
        "n_predict": max_tokens,
        "max_tokens": max_tokens,
        "n_keep": 0,
        "n_discard": 0,
        "n_probs": request.wanted.logprobs or 0,
        "stop": list(request.stopping.strings),
        "stream": stream,
        "lora": [],
    }


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
