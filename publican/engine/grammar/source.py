"""What a request calls a constraint, as the grammar text that llguidance compiles. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark

from publican.core.errors import InvalidParameter
from publican.core.sampling import SamplingParams

_MAX_CHARS = 1 << 20
LARGE = 16_384
"""Characters."""

Constraint = tuple[str, tuple[str, ...]]
"""The name of a parameter, and what it says; several texts where it is `choice`."""


def is_constrained(params: SamplingParams) -> bool:
    return bool(params.grammar or params.json_schema or params.regex or params.choice)


def is_doubtful(params: SamplingParams) -> bool:
    """Whether the constraint of `params` might take more than a second or two to compile, or more stack than a lane has.

    Long ones might, and those that have expressions which must hold together: Lark's ``&`` and ``~``, a schema's patterns.
    """
    num_chars = len(params.grammar) + len(params.json_schema) + len(params.regex) + sum(map(len, params.choice))
    if num_chars > LARGE:
        return True
    marks = ('"pattern', "\\u", "&", "~") if params.grammar else ('"pattern', "\\u")
    return any(mark in (params.grammar or params.json_schema) for mark in marks)


def constraint_of(params: SamplingParams) -> Constraint:
    """What `params` asks for. Of several, a grammar wins over a schema, that over a regex, that over choices.

    Raises:
        InvalidParameter: it is too long.
    """
    for name in ("grammar", "json_schema", "regex"):
        if text := getattr(params, name):
            return name, (_bounded(name, text),)
    _bounded("choice", "".join(params.choice))
    return "choice", params.choice


def grammar_text(params: SamplingParams) -> str:
    """The constraint of `params` as llguidance reads it.

    Raises:
        InvalidParameter: it is too long, or not what it should be; what only compiling can find is found there.
    """
    name, texts = constraint_of(params)
    if name == "grammar":
        return _of_grammar(texts[0])
    if name == "json_schema":
        return _json_schema(name, texts[0])
    if name == "regex":
        return LLMatcher.grammar_from_regex(texts[0])
    return LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(text) for text in texts))


def _json_schema(name: str, text: str) -> str:
    try:
        return _of_schema(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(name, f"is not a JSON schema ({error!s:.200}).") from None


def _of_schema(schema: Any) -> str:
    """One way to write white space: no model is lured into writing spaces for ever, and what is forced comes at once."""
    layout: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return LLMatcher.grammar_from_json_schema(schema, overrides=layout)


def _of_grammar(text: str) -> str:
    """GBNF and EBNF define with ``::=``; Lark with ``:``. A JSON object is a schema (KoboldCpp takes one here)."""
    if text.lstrip().startswith("{"):
        return _json_schema("grammar", text)
    if "::=" not in text:
        return LLMatcher.grammar_from_lark(text)
    try:
        return LLMatcher.grammar_from_lark(gbnf_to_lark(text))
    except Exception as error:  # noqa: BLE001 - the converter raises whatever its parser meets
        raise InvalidParameter("grammar", f"is not GBNF ({error!s:.200}).") from None


def _bounded(name: str, text: str) -> str:
    if len(text) > _MAX_CHARS:
        raise InvalidParameter(name, f"may have {_MAX_CHARS:,} characters at most, and has {len(text):,}.")
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise InvalidParameter(name, "has half a character in it (a lone surrogate).")
    return text
