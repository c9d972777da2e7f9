"""Chats as OpenAI writes them, which half of all dialects do: messages, tools, and the choice among tools. Pure.

What a message holds beside its role and content goes to the chat template as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field, WithJsonSchema

from publican.apis.fields import Body
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import Message, Tool, ToolChoice

B = TypeVar("B", bound=Body)

MAX_MESSAGES = 10_000
MAX_TOOLS = 256

Messages = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]

_PICTURES = ("image_url", "input_image", "image")
_OTHER_MEDIA = ("input_audio", "input_file", "file", "document", "video_url", "audio_url", "audio")


class ChatMessage(Body):
    """One turn."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Annotated[
        Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]})
    ] = None


class Function(Body):
    """What a tool is called, what it is for, and the schema of its arguments."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


def messages_of(sent: Sequence[Mapping[str, Any]], name: str = "messages") -> tuple[Message, ...]:
    """Raises InvalidRequest that names the first message that is none."""
    return tuple(message_of(f"{name}[{index}]", message) for index, message in enumerate(sent))


def message_of(name: str, body: Mapping[str, Any]) -> Message:
    """The message that stands at `name`."""
    sent = within(name, ChatMessage, body)
    role = "system" if sent.role == "developer" else sent.role  # the newer word for the same; no local template knows it
    extra = {key: value for key, value in body.items() if key not in ("role", "content") and value is not None}
    if "tool_calls" in extra:
        _check_calls(f"{name}.tool_calls", extra["tool_calls"])
    return Message(role, text_of(f"{name}.content", sent.content), extra)


def text_of(name: str, content: Any) -> str:
    """The text of a message whose content may come in parts. Parts are paragraphs to most servers, and to this one."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidParameter(name, "must be a text or a list of parts.")
    return "\n".join(_part(f"{name}[{at}]", part) for at, part in enumerate(content))


def _part(name: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
    if kind in _PICTURES:
        raise Unsupported(f"{name}: images are not supported by this server yet; send text.")
    if kind in _OTHER_MEDIA:
        raise Unsupported(f"{name}: {kind} parts are not supported by this server; send text.")
    if not isinstance(text, str):
        raise InvalidParameter(name, "must be a part of type text, with a text.")
    return text


def _check_calls(name: str, calls: Any) -> None:
    """A template that meets anything else breaks in ways that say nothing to a caller."""
    if not isinstance(calls, list):
        raise InvalidParameter(name, "must be a list of calls.")
    for at, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidParameter(f"{name}[{at}]", "must be an object with a function that has a name.")
        if not isinstance(function.get("arguments", ""), str | dict):
            raise InvalidParameter(f"{name}[{at}].function.arguments", "must be JSON text.")


def effort_variables(effort: str) -> dict[str, Any]:
    """What chat templates call OpenAI's `reasoning_effort`; ``none`` is no thinking at all."""
    if effort in ("", "none"):
        return {"enable_thinking": False} if effort else {}
    return {"reasoning_effort": effort}


# --- tools


def tools_of(sent: Any) -> tuple[Tool, ...]:
    """``[{"type": "function", "function": {…}}, …]``, or nothing. What is in `function` may stand beside `type` instead."""
    if not sent:
        return ()
    if not isinstance(sent, list) or len(sent) > MAX_TOOLS:
        raise InvalidParameter("tools", f"must be a list of at most {MAX_TOOLS} tools.")
    tools = tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(sent))
    if len({tool.name for tool in tools}) != len(tools):
        raise InvalidParameter("tools", "has two of the same name.")
    return tools


def _tool(name: str, sent: Any) -> Tool:
    if not isinstance(sent, dict):
        raise InvalidParameter(name, "must be an object.")
    kind = sent.get("type", "function")
    if kind != "function":
        raise Unsupported(f"{name}: tools of type {kind!r:.40} are not supported by this server; send functions.")
    place, inner = (name, sent) if "name" in sent else (f"{name}.function", sent.get("function"))
    if not isinstance(inner, dict):
        raise InvalidParameter(place, "must be an object with a name.")
    function = within(place, Function, inner)
    return Tool(function.name, function.description, function.parameters)


def tool_choice_of(sent: Any, tools: Sequence[Tool]) -> ToolChoice | Tool:
    """``"auto"``, ``"none"``, ``"required"`` (or ``"any"``), or ``{"type": "function", "function": {"name": …}}``."""
    if sent is None or sent == "auto":
        return "auto"
    if sent == "none":
        return "none"
    if sent in ("required", "any"):
        if not tools:
            raise InvalidParameter("tool_choice", "demands a call, and there are no tools; send tools too.")
        return "required"
    function = sent.get("function", sent) if isinstance(sent, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidParameter("tool_choice", "must be auto, none, required, or name a function.")
    return named(name, tools)


def named(name: str, tools: Sequence[Tool]) -> Tool:
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        raise InvalidParameter("tool_choice", f"names {name!r:.60}, which is not among the tools.")
    return tool


def within(name: str, kind: type[B], body: Mapping[str, Any]) -> B:
    """`body` as a `kind`; complaints say that it stands at `name`."""
    try:
        return kind.of(body)
    except InvalidParameter as error:
        text = str(error).removeprefix(f"{error.name}: ")
        raise InvalidParameter(name if error.name == "body" else f"{name}.{error.name}", text) from None
