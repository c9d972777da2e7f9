"""Anthropic's messages, made of blocks, as `core` has them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from publican.apis.anthropic.schema import Turn
from publican.apis.messages import within
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import Message

_SKIPPED = ("redacted_thinking",)
"""Blocks that only Anthropic can read."""


def messages_of(system: Any, sent: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The conversation, `system` first. Raises InvalidRequest that names the first block that is none."""
    opening = text_of("system", system)
    messages = [Message("system", opening)] if opening else []
    for at, body in enumerate(sent):
        messages += _turn(f"messages[{at}]", within(f"messages[{at}]", Turn, body))
    return tuple(messages)


def _turn(place: str, turn: Turn) -> list[Message]:
    """A turn of the user's may begin with what tools gave, each a message of its own here."""
    if isinstance(turn.content, str):
        return [Message(turn.role, turn.content)]
    blocks = _blocks(f"{place}.content", turn.content)
    results, texts, calls, thoughts = [], [], [], []
    for where, block in blocks:
        match block["type"]:
            case "text":
                texts.append(_text(where, block))
            case "tool_result" if turn.role == "user":
                results.append(_result(where, block))
            case "tool_use" if turn.role == "assistant":
                calls.append(_call(where, block))
            case "thinking" if turn.role == "assistant":
                thoughts.append(str(block.get("thinking", "")))
            case kind if kind not in _SKIPPED:
                raise _unsupported(where, kind)
    extra: dict[str, Any] = {"tool_calls": calls} if calls else {}
    if any(thoughts):
        extra["reasoning_content"] = "".join(thoughts)
    return [*results, *([Message(turn.role, "\n".join(texts), extra)] if texts or extra else [])]


def text_of(place: str, content: Any) -> str:
    """The text of what may come in blocks, all of which must be text."""
    if isinstance(content, str):
        return content
    blocks = _blocks(place, content)
    for where, block in blocks:
        if block["type"] != "text":
            raise _unsupported(where, block["type"])
    return "\n".join(_text(where, block) for where, block in blocks)


def _blocks(place: str, content: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(content, list):
        raise InvalidParameter(place, "must be a text or a list of blocks.")
    for at, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidParameter(f"{place}[{at}]", "must be a block with a type.")
    return [(f"{place}[{at}]", block) for at, block in enumerate(content)]


def _unsupported(where: str, kind: str) -> Unsupported:
    return Unsupported(f"{where}: blocks of type {kind[:40]!r} are not supported here by this server; send text.")


def _text(where: str, block: Mapping[str, Any]) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise InvalidParameter(f"{where}.text", "must be a text.")
    return text


def _result(where: str, block: Mapping[str, Any]) -> Message:
    id = block.get("tool_use_id")
    if not isinstance(id, str):
        raise InvalidParameter(f"{where}.tool_use_id", "must be the id of a tool_use block.")
    return Message("tool", text_of(f"{where}.content", block.get("content") or ""), {"tool_call_id": id})


def _call(where: str, block: Mapping[str, Any]) -> dict[str, Any]:
    name, sent = block.get("name"), block.get("input", {})
    if not isinstance(name, str) or not name:
        raise InvalidParameter(f"{where}.name", "must be the name of a tool.")
    if not isinstance(sent, dict):
        raise InvalidParameter(f"{where}.input", "must be an object.")
    arguments = json.dumps(sent, ensure_ascii=False)
    return {"id": str(block.get("id", "")), "type": "function", "function": {"name": name, "arguments": arguments}}
