"""Anthropic's bodies to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from publican.apis.anthropic.blocks import messages_of
from publican.apis.anthropic.schema import CountBody, MessagesBody, ToolBody
from publican.apis.asking import Asking
from publican.apis.fields import refuse_unsupported, sampling_from
from publican.apis.messages import named, within
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import ChatPrompt, Request, Stopping, Tool, ToolChoice, Wanted, new_request_id

NAME = "anthropic"
_UNSUPPORTED = {"mcp_servers": bool, "container": bool}


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood. `model` is what the caller calls it."""

    request: Request
    stream: bool
    model: str


def messages(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /v1/messages. Raises InvalidRequest."""
    sent = MessagesBody.of(body)
    refuse_unsupported(body, _UNSUPPORTED)
    stopping = Stopping(max_tokens=sent.max_tokens, strings=tuple(sent.stop_sequences))
    sampling = sampling_from(NAME, {**body, **_format(sent)}, asking.presets)
    wanted = Wanted(split_reasoning=True)
    id = new_request_id("msg")
    request = Request(_prompt(sent), sampling, stopping, wanted, sent.model or None, asking.caller, NAME, id)
    return Asked(request, sent.stream, sent.model)


def counted(body: Mapping[str, Any]) -> ChatPrompt:
    """POST /v1/messages/count_tokens. Raises InvalidRequest."""
    return _prompt(CountBody.of(body))


def _prompt(sent: CountBody) -> ChatPrompt:
    conversation = messages_of(sent.system, sent.messages)
    if not conversation or conversation[-1].role == "system":
        raise InvalidParameter("messages", "must hold a turn that can be answered.")
    tools = tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(sent.tools))
    if len({tool.name for tool in tools}) != len(tools):
        raise InvalidParameter("tools", "has two of the same name.")
    return ChatPrompt(
        conversation,
        continue_last=conversation[-1].role == "assistant" and not conversation[-1].extra.get("tool_calls"),
        variables={"enable_thinking": sent.thinking.type != "disabled"} if sent.thinking else {},
        tools=tools,
        tool_choice=_tool_choice(sent, tools),
        parallel_calls=not (sent.tool_choice and sent.tool_choice.disable_parallel_tool_use),
    )


def _tool(place: str, sent: Mapping[str, Any]) -> Tool:
    if isinstance(sent.get("type"), str) and sent["type"] != "custom":
        raise Unsupported(f"{place}: tools of type {sent['type'][:40]!r} run at Anthropic's, not here; send tools of your own.")
    tool = within(place, ToolBody, sent)
    return Tool(tool.name, tool.description, tool.input_schema)


def _tool_choice(sent: CountBody, tools: Sequence[Tool]) -> ToolChoice | Tool:
    choice = sent.tool_choice
    if choice is None or choice.type == "auto":
        return "auto"
    if choice.type == "none":
        return "none"
    if choice.type == "tool":
        return named(choice.name, tools)
    if not tools:
        raise InvalidParameter("tool_choice", "demands a call, and there are no tools; send tools too.")
    return "required"


def _format(sent: MessagesBody) -> dict[str, Any]:
    """A schema that the answer follows, under its older name or its newer one."""
    form = sent.output_config.get("format") or sent.output_format
    if not form:
        return {}
    if not isinstance(form, Mapping) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), Mapping):
        raise InvalidParameter("output_config.format", "must be of type json_schema, with a schema.")
    return {"json_schema": form["schema"]}
