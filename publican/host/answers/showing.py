"""A conversation with tools for a chat template that knows none: tools, calls and results as plain messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from publican.core.request import ChatPrompt, Message, Tool
from publican.host.answers import json_text
from publican.host.answers.forcing import demanded, offered
from publican.host.answers.formats.format import Call, CallFormat

_EXAMPLE = Call("function_name", {"argument": "value"})
_MAY = "If a function helps with what is asked, call it; otherwise answer in plain words."
_MUST = "Do not answer in plain words: call a function."
_CALLS_ONLY = ("tool_calls",)


def has_tools(prompt: ChatPrompt) -> bool:
    """Whether tools are offered, or were used before."""
    return bool(offered(prompt)) or any(m.role == "tool" or m.extra.get("tool_calls") for m in prompt.messages)


def as_wire(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI writes it, and as chat templates expect it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def shown(prompt: ChatPrompt, format: CallFormat, system_role: bool = True) -> tuple[Message, ...]:
    """The messages of `prompt` with its tools among them, calls as `format` writes them, and results as the user's words.

    `system_role`: the template knows system messages; otherwise the first of the user's messages has to hold the tools.
    """
    messages: list[Message] = []
    for message in prompt.messages:
        plain = _plain(message, format)
        last = messages[-1] if messages else None
        if message.role == "tool" and last is not None and last.extra.get(_RESULTS):
            messages[-1] = replace(last, content=f"{last.content}\n{plain.content}")
        else:
            messages.append(plain)
    messages = [replace(m, extra={k: v for k, v in m.extra.items() if k != _RESULTS}) for m in messages]
    return introduced(prompt, messages, format, system_role)


def introduced(
    prompt: ChatPrompt, messages: Sequence[Message], format: CallFormat, system_role: bool = True
) -> tuple[Message, ...]:
    """`messages` with the tools of `prompt` explained in the first one; calls and results stay as they are."""
    tools = offered(prompt)
    return _with_system(messages, _instruction(prompt, tools, format), system_role) if tools else tuple(messages)


_RESULTS = "publican_results"


def _plain(message: Message, format: CallFormat) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>\n{message.content}\n</tool_response>", {_RESULTS: True})
    calls = calls_of(message)
    extra = {key: value for key, value in message.extra.items() if key not in _CALLS_ONLY}
    if not calls:
        return replace(message, extra=extra)
    return Message(message.role, f"{message.content}\n{format.write(calls)}".lstrip("\n"), extra)


def calls_of(message: Message) -> list[Call]:
    """The calls that an assistant's message holds, as OpenAI writes them."""
    sent = message.extra.get("tool_calls")
    functions = [call.get("function") for call in sent if isinstance(call, Mapping)] if isinstance(sent, list | tuple) else []
    return [
        Call(str(function.get("name", "")), _object(function.get("arguments")))
        for function in functions
        if isinstance(function, Mapping)
    ]


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = json_text.parse(value)
    return value if isinstance(value, Mapping) else {}


def _instruction(prompt: ChatPrompt, tools: Sequence[Tool], format: CallFormat) -> str:
    listed = "\n".join(json_text.dump(as_wire(tool)["function"]) for tool in tools)
    return (
        f"You can call these functions, here with the JSON schemas of their arguments:\n{listed}\n\n"
        f"A call is written like this, and nothing may follow it:\n{format.write([_EXAMPLE])}\n\n"
        f"{_MUST if demanded(prompt) else _MAY}"
    )


def _with_system(messages: Sequence[Message], text: str, system_role: bool) -> tuple[Message, ...]:
    first = messages[0] if messages else None
    if first is None or (first.role != "system" and system_role):
        return (Message("system", text), *messages)
    if system_role:
        return (replace(first, content=f"{first.content}\n\n{text}"), *messages[1:])
    rest = list(messages)
    if first.role == "system":
        text, rest = f"{first.content}\n\n{text}", rest[1:]
    if rest and rest[0].role == "user":
        return (replace(rest[0], content=f"{text}\n\n{rest[0].content}"), *rest[1:])
    return (Message("user", text), *rest)
