"""Bodies of the 2023 API to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from publican.apis.asking import Asking
from publican.apis.casts import cast
from publican.apis.fields import sampling_from
from publican.apis.ooba.chat import Conversation, Histories
from publican.apis.ooba.instruct import INSTRUCTS, Instruct, overridden
from publican.apis.ooba.schema import ChatBody, GenerateBody, Parameters
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import Request, Stopping, TextPrompt, Wanted
from publican.core.sampling import SAMPLING_PARAMETERS

NAME = "ooba"
MODES = ("chat", "chat-instruct", "instruct")

_ASSISTANT = "AI"
_CONTEXT = "This is a chat between {{user}} and {{char}}, who is helpful and answers well."
_COMMAND = 'Below is a chat. Write the next message of "<|character|>", and nothing but that message.\n\n<|prompt|>'


def generate(body: Mapping[str, Any], asking: Asking) -> Request:
    """POST /api/v1/generate, and a message of the stream. Raises InvalidRequest."""
    sent = GenerateBody.of(body)
    return _request(TextPrompt(sent.prompt, sent.add_bos_token), body, sent, asking)


@dataclass(frozen=True, slots=True)
class Chat:
    """POST /api/v1/chat, understood.

    Attributes:
        request: as it will be, but for its prompt, which must first be made to fit.
        room: tokens that the prompt may have.
        histories: what the answer will be added to.
        unchanged: the history as it was sent, where there is nothing to do over or to continue: it is the answer.
    """

    request: Request
    conversation: Conversation
    histories: Histories
    room: int
    unchanged: dict[str, Any] | None = None


def chat(body: Mapping[str, Any], asking: Asking) -> Chat:
    """POST /api/v1/chat, and a message of the chat-stream. Raises InvalidRequest."""
    sent = ChatBody.of(body)
    if sent.mode not in MODES:
        raise InvalidParameter("mode", f"must be one of {', '.join(MODES)}.")
    histories = _histories(sent)
    unchanged = sent.history.model_dump() if histories is None else None
    histories = histories or Histories((), (), "", "")
    conversation = _conversation(sent, histories)
    request = _request(conversation.prompt(), body, sent, asking)
    strings = tuple(dict.fromkeys((*request.stopping.strings, *conversation.stop_strings)))
    request = replace(request, stopping=replace(request.stopping, strings=strings))
    return Chat(request, conversation, histories, request.wanted.truncate_prompt or 1, unchanged)


def _request(prompt: Any, body: Mapping[str, Any], sent: Parameters, asking: Asking) -> Request:
    stopping = Stopping(
        max_tokens=None if sent.auto_max_new_tokens else sent.max_new_tokens,
        strings=tuple(sent.stopping_strings),
    )
    wanted = Wanted(
        special_tokens=not sent.skip_special_tokens,
        truncate_prompt=max(1, sent.truncation_length - sent.max_new_tokens),
    )
    sampling = sampling_from(NAME, cast(SAMPLING_PARAMETERS, NAME, body), asking.presets)
    return Request(prompt, sampling, stopping, wanted, caller=asking.caller, dialect=NAME)


# --- chats


def _histories(sent: ChatBody) -> Histories | None:
    """The histories that the answer goes to; None if there is nothing to do over or to continue."""
    internal = tuple((said, answered) for said, answered in sent.history.internal)
    visible = tuple((said, answered) for said, answered in sent.history.visible)
    if len(visible) != len(internal):
        visible = tuple((html.escape(said), html.escape(answered)) for said, answered in internal)
    if not (sent.regenerate or sent.continue_last):
        return Histories(internal, visible, sent.user_input, html.escape(sent.user_input))
    if not internal:
        return None
    (said, answered), (shown, shown_answer) = internal[-1], visible[-1]
    if sent.regenerate:
        return Histories(internal[:-1], visible[:-1], said, shown)
    return Histories(internal[:-1], visible[:-1], said, shown, answered, shown_answer)


def _conversation(sent: ChatBody, histories: Histories) -> Conversation:
    bot = _ASSISTANT if sent.character in ("None", "Assistant") else sent.character
    return Conversation(
        mode=sent.mode,
        user=sent.name1 if sent.name1 is not None else sent.your_name,
        bot=sent.name2 if sent.name2 is not None else bot,
        context=sent.context if sent.context is not None else _CONTEXT,
        command=sent.chat_instruct_command if sent.chat_instruct_command is not None else _COMMAND,
        instruct=_instruct(sent),
        turns=histories.internal,
        said=histories.said,
        begun=histories.begun,
    )


def _instruct(sent: ChatBody) -> Instruct | None:
    """The format that the request asks for; None is the model's own, which is what this server has for a setting."""
    name = "Vicuna-v1.1" if sent.instruction_template == "None" else sent.instruction_template
    if name is not None and name not in INSTRUCTS:
        raise Unsupported(
            f"instruction_template {name[:60]!r} is not known here; known are {', '.join(INSTRUCTS)}, "
            "and without one the model's own is used."
        )
    base = INSTRUCTS[name] if name is not None else None
    form = overridden(base, sent.name1_instruct, sent.name2_instruct, sent.context_instruct, sent.turn_template)
    if form is not None and not form.is_complete:
        raise InvalidParameter("turn_template", "must hold <|user-message|>, <|bot|> and <|bot-message|>.")
    return form
