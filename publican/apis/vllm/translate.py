"""Bodies of vLLM's own routes to requests, and answers to what its clients read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.apis import sse
from publican.apis.asking import Asking
from publican.apis.fields import token_ids
from publican.apis.fold import Fold
from publican.apis.openai.translate import chat_prompt, sampling_of
from publican.apis.rendering import Rendering
from publican.apis.vllm.errors import error_body
from publican.apis.vllm.schema import GenerateBody, TokenizeBody, TokenizeChatBody
from publican.core.errors import PublicanError
from publican.core.events import Delta, Queued
from publican.core.request import Prompt, Request, Stopping, TextPrompt, Wanted, new_request_id

NAME = "vllm"
END = "\0"
"""What ends a message of a stream of ``/generate``."""


@dataclass(frozen=True, slots=True)
class Tokenize:
    """POST /tokenize, understood. `pieces`: whether the tokens' texts are wanted too."""

    prompt: Prompt
    model: str | None
    pieces: bool


def tokenize(body: Mapping[str, Any]) -> Tokenize:
    """A text, or a chat as the model would see it. Raises InvalidRequest."""
    if body.get("messages") is not None:
        chat = TokenizeChatBody.of(body)
        return Tokenize(chat_prompt(chat), chat.model or None, chat.return_token_strs)
    sent = TokenizeBody.of(body)
    return Tokenize(TextPrompt(sent.prompt, sent.add_special_tokens), sent.model or None, sent.return_token_strs)


def generate(body: Mapping[str, Any], asking: Asking) -> tuple[Request, bool]:
    """POST /generate: the request, and whether its answer is streamed. Raises InvalidRequest."""
    sent = GenerateBody.of(body)
    stopping = Stopping(
        max_tokens=sent.max_tokens,
        strings=tuple(sent.stop),
        include_string=sent.include_stop_str_in_output,
        token_ids=token_ids("stop_token_ids", sent.stop_token_ids),
        ignore_eos=sent.ignore_eos,
    )
    wanted = Wanted(num_choices=sent.n, special_tokens=not sent.skip_special_tokens)
    sampling = sampling_of(NAME, body, sent.n, asking)
    id = new_request_id("cmpl")
    return Request(TextPrompt(sent.prompt), sampling, stopping, wanted, None, asking.caller, NAME, id), sent.stream


def whole(prompt: str, fold: Fold) -> dict[str, Any]:
    """Each answer with the prompt before it."""
    return {"text": [prompt + choice.text for choice in fold.in_order()]}


class Cumulative(Rendering):
    """The stream of ``/generate``: everything so far, again and again. Follows `respond.Stream`."""

    media_type = "application/octet-stream"

    def __init__(self, prompt: str, num_choices: int) -> None:
        self._texts = [prompt] * num_choices

    def delta(self, index: int, delta: Delta) -> str:
        self._texts[index] += delta.text
        return sse.compact({"text": self._texts}) + END if delta.text else ""

    def failed(self, error: PublicanError) -> bytes:
        return (sse.compact(error_body(error, 500)) + END).encode("ascii")

    def waiting(self, queued: Queued | None) -> bytes:
        return b" "  # JSON may have space before it
