"""What form an answer must have, in the ways clients say it beside the sampling parameters' own names. Pure.

Each way becomes fields of the body under the names that `core.sampling` declares, so that they are read and checked there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from publican.core.errors import InvalidParameter, Unsupported

ANY_OBJECT = '{"type":"object"}'
"""The schema of whatever is a JSON object."""

_OUTPUTS = {"json": "json_schema", "regex": "regex", "choice": "choice", "grammar": "grammar"}


def with_format(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with its `response_format` and vLLM's `structured_outputs` as sampling parameters.

    Raises:
        InvalidParameter, Unsupported: they are none, or of a kind that is not to be had.
    """
    return {**body, **_response_format(body.get("response_format")), **_structured_outputs(body.get("structured_outputs"))}


def _response_format(sent: Any) -> dict[str, Any]:
    """OpenAI's ``text``, ``json_object`` and ``json_schema``; TGI's ``json`` and ``regex``; llama.cpp's ``schema``."""
    if sent is None:
        return {}
    if not isinstance(sent, Mapping):
        raise InvalidParameter("response_format", "must be an object with a type.")
    kind = sent.get("type")
    match kind:
        case "text":
            return {}
        case "json_object":
            return {"json_schema": sent.get("schema") or ANY_OBJECT}
        case "json_schema":
            return {"json_schema": _schema_in(sent)}
        case "json":
            return {"json_schema": _value_of(sent)}
        case "regex":
            return {"regex": _value_of(sent)}
        case "grammar" if isinstance(sent.get("grammar"), str):
            return {"grammar": sent["grammar"]}
    raise Unsupported(f"response_format: the type {kind!r:.40} is not known here; use text, json_object or json_schema.")


def _schema_in(sent: Mapping[str, Any]) -> Any:
    """The schema, wherever the client's library puts it."""
    inner = sent.get("json_schema", sent)
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(schema, Mapping | bool):
        raise InvalidParameter("response_format.json_schema.schema", "must be a JSON schema.")
    return schema


def _value_of(sent: Mapping[str, Any]) -> Any:
    if sent.get("value") is None:
        raise InvalidParameter("response_format.value", "must say what the answer follows.")
    return sent["value"]


def _structured_outputs(sent: Any) -> dict[str, Any]:
    if not sent:
        return {}
    if not isinstance(sent, Mapping):
        raise InvalidParameter("structured_outputs", "must be an object.")
    if sent.get("structural_tag") is not None:
        raise Unsupported("structured_outputs.structural_tag is not supported by this server; use json, regex or grammar.")
    if sent.get("json_object"):
        return {"json_schema": ANY_OBJECT}
    return {ours: sent[theirs] for theirs, ours in _OUTPUTS.items() if sent.get(theirs) is not None}


def with_beams(body: Mapping[str, Any], num_choices: int) -> Mapping[str, Any]:
    """`body` with vLLM's `use_beam_search` as a number of beams: as many as answers are tried. With one beam it is greedy."""
    if body.get("use_beam_search") is not True:
        return body
    best_of = body.get("best_of")
    width = max(num_choices, best_of if isinstance(best_of, int) else 1)
    return {**body, "best_of": None, **({"num_beams": width} if width > 1 else {"do_sample": False})}


def grammar_or_schema(body: Mapping[str, Any], name: str = "grammar") -> Mapping[str, Any]:
    """`body` with a `grammar` that is really a JSON schema under its right name: KoboldCpp's clients send either."""
    text = body.get(name)
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return body
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return body
    return {**body, name: None, "json_schema": schema} if isinstance(schema, dict) else body
