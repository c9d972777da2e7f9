"""Ollama's bodies to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import MAX_COUNT, sampling_from, token_ids
from publican.apis.formats import ANY_OBJECT
from publican.apis.messages import messages_of, tools_of, within
from publican.apis.ollama.schema import ChatBody, Common, GenerateBody, Options
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.ids import TokenId
from publican.core.request import ChatPrompt, Message, Prompt, Request, Stopping, TextPrompt, Wanted, new_request_id

NAME = "ollama"
_EFFORTS = ("low", "medium", "high", "max")


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood.

    Attributes:
        request: None where nothing is to be generated: the model is to be loaded, or unloaded.
        model: what the caller calls it, as answers do then.
        num_top: None for no log probabilities.
        room: tokens that the prompt may have; None refuses one that is too long.
        suffix: what stands behind the hole that the answer fills.
        context: the tokens of the conversation so far.
        keeps_context: whether the answer says the tokens of the conversation.
    """

    request: Request | None
    model: str
    stream: bool
    num_top: int | None
    unload: bool
    room: int | None = None
    suffix: str = ""
    context: tuple[TokenId, ...] = ()
    keeps_context: bool = False


def generate(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /api/generate. Raises InvalidRequest."""
    sent = GenerateBody.of(body)
    _refuse_images("images", body)
    if sent.template:
        raise Unsupported("template: templates in Go's language are not supported by this server; use the model's own, or raw.")
    if sent.raw and (sent.system or sent.context):
        raise InvalidParameter("raw", "goes with neither system nor context.")
    if not sent.prompt and not sent.suffix:
        return _asked(sent, None)
    as_text = sent.raw or bool(sent.suffix)
    prompt = TextPrompt(sent.prompt) if as_text else _turn(sent)
    request, room = _request(prompt, sent, asking)
    context = token_ids("context", sent.context)
    return _asked(sent, request, room=room, suffix=sent.suffix, context=context, keeps_context=not as_text)


def chat(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /api/chat. Raises InvalidRequest."""
    sent = ChatBody.of(body)
    if not sent.messages:
        return _asked(sent, None)
    messages = messages_of([_as_openai(f"messages[{at}]", message) for at, message in enumerate(sent.messages)])
    prompt = ChatPrompt(messages, variables=_thinking(sent.think), tools=tools_of(sent.tools))
    request, room = _request(prompt, sent, asking)
    return _asked(sent, request, room=room)


def _asked(sent: Common, request: Request | None, **rest: Any) -> Asked:
    num_top = sent.top_logprobs if sent.logprobs else None
    return Asked(request, sent.model, sent.stream, num_top, sent.keep_alive in (0, "0", "0s", "0m"), **rest)


def _turn(sent: GenerateBody) -> ChatPrompt:
    system = (Message("system", sent.system),) if sent.system else ()
    return ChatPrompt((*system, Message("user", sent.prompt)), variables=_thinking(sent.think))


def _request(prompt: Prompt, sent: Common, asking: Asking) -> tuple[Request, int | None]:
    options = within("options", Options, sent.options)
    max_tokens = options.num_predict if options.num_predict >= 0 else None
    room = max(1, (options.num_ctx or MAX_COUNT) - (max_tokens or 1)) if sent.truncate else None
    wanted = Wanted(
        logprobs=sent.top_logprobs if sent.logprobs else None,
        split_reasoning=isinstance(prompt, ChatPrompt),
        truncate_prompt=room,
    )
    stopping = Stopping(max_tokens=max_tokens, strings=tuple(options.stop))
    sampling = sampling_from(NAME, {**sent.options, **_format(sent.format)}, asking.presets)
    id = new_request_id("ollama")
    return Request(prompt, sampling, stopping, wanted, sent.model, asking.caller, NAME, id), room


def _format(sent: Any) -> dict[str, Any]:
    if sent in ("", None):
        return {}
    if sent == "json":
        return {"json_schema": ANY_OBJECT}
    if isinstance(sent, Mapping):
        return {"json_schema": sent}
    raise InvalidParameter("format", "must be json, or a JSON schema.")


def _thinking(sent: Any) -> dict[str, Any]:
    """What templates call it."""
    if sent is None or sent == "":
        return {}
    if isinstance(sent, bool):
        return {"enable_thinking": sent}
    if sent in _EFFORTS:
        return {"enable_thinking": True, "reasoning_effort": sent}
    raise InvalidParameter("think", f"must be true, false, or one of {', '.join(_EFFORTS)}.")


def _as_openai(place: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the names that chat templates know."""
    _refuse_images(f"{place}.images", message, "images")
    renamed = {"tool_name": "name", "thinking": "reasoning_content"}
    said = {renamed.get(name, name): value for name, value in message.items() if name != "images"}
    calls = said.get("tool_calls")
    if isinstance(calls, list):
        said["tool_calls"] = [{"type": "function", **call} if isinstance(call, dict) else call for call in calls]
    return said


def _refuse_images(place: str, body: Mapping[str, Any], name: str = "images") -> None:
    if body.get(name):
        raise Unsupported(f"{place}: images are not supported by this server yet; send text.")
