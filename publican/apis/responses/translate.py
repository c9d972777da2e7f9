"""Bodies of ``/v1/responses`` to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import MAX_COUNT, refuse_unsupported
from publican.apis.messages import MAX_MESSAGES, effort_variables, message_of, text_of, tool_choice_of, tools_of
from publican.apis.openai.translate import NAME, sampling_of
from publican.apis.responses.schema import LOGPROBS, ResponsesBody
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import ChatPrompt, Message, Request, Stopping, Tool, ToolChoice, Wanted, new_request_id

_UNSUPPORTED = {
    "background": bool,
    "previous_response_id": bool,
    "conversation": bool,
    "prompt": bool,
}
"""What needs a server that remembers; this one forgets an answer when it is out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood.

    Attributes:
        echoed: what the answer repeats of the body.
        num_top: how many likeliest tokens are shown beside each; None shows no log probabilities.
    """

    request: Request
    stream: bool
    echoed: Mapping[str, Any]
    num_top: int | None = None


def response(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /v1/responses. Raises InvalidRequest."""
    sent = ResponsesBody.of(body)
    refuse_unsupported(body, _UNSUPPORTED)
    num_top = sent.top_logprobs if sent.top_logprobs or LOGPROBS in sent.include else None
    wanted = Wanted(
        logprobs=num_top,
        split_reasoning=True,
        truncate_prompt=MAX_COUNT if sent.truncation == "auto" else None,
    )
    sampling = sampling_of(NAME, {**body, "response_format": sent.text.format or None}, 1, asking)
    stopping = Stopping(max_tokens=sent.max_output_tokens, strings=tuple(sent.stop))
    id, model = new_request_id("resp"), sent.model or None
    request = Request(_prompt(sent), sampling, stopping, wanted, model, asking.caller, NAME, id)
    return Asked(request, sent.stream, _echoed(sent, request), num_top)


def _echoed(sent: ResponsesBody, request: Request) -> dict[str, Any]:
    return {
        "instructions": sent.instructions or None,
        "max_output_tokens": sent.max_output_tokens,
        "metadata": sent.metadata,
        "parallel_tool_calls": sent.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": sent.reasoning.effort or None, "summary": None},
        "store": False,
        "temperature": request.sampling.temperature,
        "text": {"format": sent.text.format or {"type": "text"}},
        "tool_choice": sent.tool_choice or "auto",
        "tools": sent.tools or [],
        "top_logprobs": sent.top_logprobs,
        "top_p": request.sampling.top_p,
        "truncation": sent.truncation,
        "user": sent.user or None,
    }


def _prompt(sent: ResponsesBody) -> ChatPrompt:
    tools, choice = _tools(sent)
    variables = {**sent.chat_template_kwargs, **effort_variables(sent.reasoning.effort)}
    messages = _instructed(sent.instructions, messages_in(sent.input))
    return ChatPrompt(messages, False, None, variables, tools, choice, sent.parallel_tool_calls)


def _tools(sent: ResponsesBody) -> tuple[tuple[Tool, ...], ToolChoice | Tool]:
    """The tools and the choice among them; ``allowed_tools`` offers some of them only."""
    tools, choice = tools_of(sent.tools), sent.tool_choice
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("tools")
        if not isinstance(allowed, list):
            raise InvalidParameter("tool_choice.tools", "must be a list of tools.")
        names = {tool.get("name") for tool in allowed if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)}
        tools, choice = tuple(tool for tool in tools if tool.name in names), choice.get("mode", "auto")
    return tools, tool_choice_of(choice, tools)


def _instructed(instructions: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """`messages` with `instructions` before them; most templates know one system message at most."""
    if not instructions:
        return messages
    if messages and messages[0].role == "system":
        joined = f"{instructions}\n\n{messages[0].content}"
        return (replace(messages[0], content=joined), *messages[1:])
    return (Message("system", instructions), *messages)


def messages_in(sent: Any) -> tuple[Message, ...]:
    """The items of `input` as turns: what the model thought, said and called in one go is one turn of it.

    Raises InvalidRequest that names the first item that is none.
    """
    if isinstance(sent, str):
        return (Message("user", sent),)
    if not isinstance(sent, list) or not 1 <= len(sent) <= MAX_MESSAGES:
        raise InvalidParameter("input", f"must be a text, or a list of 1 to {MAX_MESSAGES:,} items.")
    turns: list[Message] = []
    thought = ""
    for at, item in enumerate(sent):
        name = f"input[{at}]"
        if not isinstance(item, Mapping):
            raise InvalidParameter(name, "must be an object.")
        match item.get("type", "message"):
            case "reasoning":
                thought = text_of(f"{name}.content", item.get("content") or item.get("summary"))
                continue
            case "function_call":
                _add_call(turns, _call(name, item))
            case "function_call_output":
                output = text_of(f"{name}.output", item.get("output"))
                turns.append(Message("tool", output, {"tool_call_id": _text(name, item, "call_id")}))
            case "message":
                turns.append(message_of(name, {"role": item.get("role"), "content": item.get("content")}))
            case other:
                raise Unsupported(f"{name}: items of type {other!r:.40} are not supported by this server; send messages.")
        if thought and turns[-1].role == "assistant":
            turns[-1] = replace(turns[-1], extra={**turns[-1].extra, "reasoning_content": thought})
        thought = ""
    return tuple(turns)


def _call(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": _text(name, item, "name"), "arguments": _text(name, item, "arguments")}
    return {"id": _text(name, item, "call_id"), "type": "function", "function": function}


def _add_call(turns: list[Message], call: dict[str, Any]) -> None:
    if not turns or turns[-1].role != "assistant":
        turns.append(Message("assistant", ""))
    calls: Sequence[Any] = turns[-1].extra.get("tool_calls", ())
    turns[-1] = replace(turns[-1], extra={**turns[-1].extra, "tool_calls": [*calls, call]})


def _text(name: str, item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise InvalidParameter(f"{name}.{key}", "must be a text.")
    return value
