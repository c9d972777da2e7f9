"""What Kobold's clients read: whole answers, streams, log probabilities. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from publican.apis import sse
from publican.apis.fold import Choice, Fold
from publican.apis.kobold.errors import error_body
from publican.apis.kobold.translate import NUM_TOP
from publican.apis.logprobs import chat_logprobs, completion_logprobs
from publican.apis.rendering import Rendering
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, FinishReason, TokenOutput

Parts = Sequence[tuple[str, Sequence[TokenOutput]]]
"""Texts and the tokens they are made of."""

_NAME = "message"


def whole(fold: Fold, with_logprobs: bool) -> dict[str, Any]:
    """The answer of POST /api/v1/generate."""
    choices = fold.in_order()
    num_tokens = fold.usage.num_completion_tokens
    counts = [num_tokens] if len(choices) == 1 else [choice.num_tokens for choice in choices]
    return {
        "results": [
            _result(choice, with_logprobs, fold.usage.num_prompt_tokens, count)
            for choice, count in zip(choices, counts, strict=True)
        ]
    }


def _result(choice: Choice, with_logprobs: bool, num_prompt_tokens: int, num_tokens: int) -> dict[str, Any]:
    return {
        "text": choice.text,
        "tool_calls": [],
        "finish_reason": finish_reason(choice.reason),
        "logprobs": logprobs(choice.parts) if with_logprobs else None,
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_tokens,
    }


def finish_reason(reason: FinishReason) -> str:
    return "length" if reason is FinishReason.LENGTH else "stop"


def logprobs(parts: Parts) -> dict[str, Any] | None:
    """Both of OpenAI's forms in one object; None where no token has a probability."""
    tokens = [token for _, own in parts for token in own]
    if not any(token.logprob is not None for token in tokens):
        return None
    return {"content": chat_logprobs(tokens, NUM_TOP)["content"], **completion_logprobs(parts, 0)}


class Stream(Rendering):
    """POST /api/extra/generate/stream. It ends by closing: a ``[DONE]`` would be an error to its clients."""

    _HEAD = f'event: {_NAME}\ndata: {{"token":'
    _TAIL = ',"finish_reason":null}\n\n'

    def delta(self, index: int, delta: Delta) -> str:
        return self._HEAD + sse.quote(delta.text) + self._TAIL if delta.text else ""

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        return sse.event({"token": "", "finish_reason": finish_reason(finished.reason)}, _NAME)

    def failed(self, error: PublicanError) -> bytes:
        """Clients append `token` whatever else there is, so it is there, and empty."""
        return sse.event({"token": "", "finish_reason": "error", **error_body(error, 0)}, _NAME).encode("ascii")
