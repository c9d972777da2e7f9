"""What Kobold's clients ask about a server before they use it: versions, settings, limits. Pure."""

from __future__ import annotations

from typing import Any

from publican import __version__
from publican.apis.kobold.translate import MAX_LENGTH, NAME
from publican.core.backend import ModelCard
from publican.core.parameters import wire_names
from publican.core.sampling import SAMPLING_PARAMETERS
from publican.core.sampling.wire import dialect_defaults

UNITED_VERSION = "1.2.5"
"""The version of KoboldAI United's API that this follows; clients look for 1.2.2 (stop strings) and 1.2.4 (banning the end)."""
KOBOLDCPP_VERSION = "1.102"

_SAMPLER_ORDER = (6, 0, 1, 3, 4, 2, 5)
_OTHER_SETTINGS: dict[str, Any] = {
    "memory": "",
    "authors_note": "",
    "authors_note_template": "",
    "authors_note_depth": 0,
    "world_info_depth": 0,
    "soft_prompt": "",
    "n": 1,
    "max_length": MAX_LENGTH,
    "sampler_order": list(_SAMPLER_ORDER),
    "sampler_seed": -1,
    "sampler_full_determinism": False,
    "frmttriminc": False,
    "frmtrmblln": False,
    "frmtrmspch": False,
    "frmtadsnsp": False,
    "singleline": False,
}
_SAMPLERS = ("top_k", "top_a", "top_p", "tfs", "typical", "temperature", "rep_pen", "rep_pen_range", "rep_pen_slope")


def settings(context_len: int) -> dict[str, Any]:
    """Everything under /api/v1/config: what a request means that does not say it."""
    return {**_OTHER_SETTINGS, **{name: _default(name) for name in _SAMPLERS}, "max_context_length": context_len}


def _default(name: str) -> Any:
    """What Kobold's clients expect when they are silent about the parameter that they call `name`."""
    parameter = next(p for p in SAMPLING_PARAMETERS.values() if name in wire_names(p, NAME))
    return dialect_defaults(NAME).get(parameter.name, parameter.neutral)


def version(protected: bool, card: ModelCard | None) -> dict[str, Any]:
    """GET /api/extra/version of a server with the loaded model `card`. SillyTavern compares `result`, not `version`, so it must
    be the name."""
    writes = card is not None and card.writes
    cannot = dict.fromkeys(("txt2img", "vision", "audio", "transcribe", "multiplayer", "websearch", "tts"), False)
    return {
        "result": "KoboldCpp",
        "version": KOBOLDCPP_VERSION,
        "protected": protected,
        "llm": writes,
        **cannot,
        "embeddings": card is not None and card.embeds,
        "savedata": False,
        "admin": 0,
        "guidance": writes,
        "jinja": writes,
    }


def service() -> dict[str, Any]:
    """GET /.well-known/serviceinfo, by which pages find out what they have before them."""
    kobold = {"name": "KoboldAI API", "rel_url": "/api", "documentation": "/openapi.json", "version": UNITED_VERSION}
    openai = {"name": "OpenAI API", "rel_url": "/v1", "documentation": "/openapi.json", "version": ""}
    software = {"name": "publican", "version": __version__, "repository": "", "homepage": "", "logo": ""}
    return {"version": "0.2", "software": software, "api": {"koboldai": kobold, "openai": openai}}
