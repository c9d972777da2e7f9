"""Which bodies for ``/api/v1/generate`` are Kobold's, and which ooba's of 2023: the two have words of their own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KOBOLD_WORDS = frozenset(
    (
        "max_length",
        "max_context_length",
        "rep_pen",
        "rep_pen_range",
        "rep_pen_slope",
        "sampler_order",
        "sampler_seed",
        "sampler_full_determinism",
        "stop_sequence",
        "genkey",
        "memory",
        "trim_stop",
        "use_story",
        "use_memory",
        "use_authors_note",
        "use_world_info",
        "use_userscripts",
        "use_default_badwordsids",
        "singleline",
        "frmttriminc",
        "frmtrmblln",
        "frmtrmspch",
        "frmtadsnsp",
        "disable_input_formatting",
        "disable_output_formatting",
        "bypass_eos",
        "render_special",
        "banned_strings",
        "quiet",
    )
)
_OOBA_WORDS = frozenset(
    (
        "max_new_tokens",
        "auto_max_new_tokens",
        "stopping_strings",
        "truncation_length",
        "add_bos_token",
        "do_sample",
        "repetition_penalty",
        "repetition_penalty_range",
        "encoder_repetition_penalty",
        "typical_p",
        "skip_special_tokens",
        "mirostat_mode",
        "preset",
    )
)


def is_kobold(body: Mapping[str, Any]) -> bool:
    """Whether a body for ``/api/v1/generate`` is Kobold's, and not ooba's of 2023: the two have words of their own."""
    names = {name for name, value in body.items() if value is not None}
    return len(names & _KOBOLD_WORDS) > len(names & _OOBA_WORDS)
