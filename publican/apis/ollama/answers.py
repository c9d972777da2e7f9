"""What Ollama's clients read: JSON objects, whole or one a line. Pure: events in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from publican.apis import sse
from publican.apis.fold import Fold, ToolCall
from publican.apis.ollama.errors import error_body
from publican.apis.rendering import Rendering
from publican.apis.token_text import finite, piece_name, split
from publican.core.errors import PublicanError
from publican.core.events import (
    ChoiceFinished,
    Delta,
    FinishReason,
    Queued,
    TokenOutput,
    ToolCallDelta,
    TopLogprob,
    Usage,
)
from publican.core.ids import TokenId

MEDIA_TYPE = "application/x-ndjson"
STILL_WAITING = b" "
"""White space before a line's object; every client's JSON reader passes over it."""

_MARK = "\x01"


class Answer(Rendering):
    """One answer, whole or streamed. A subclass is one of the two forms.

    Args:
        model: what the caller calls it.
        num_top: alternatives beside each token; None for no log probabilities.
        prompt: the prompt's tokens, where the answer says the conversation's.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, model: str, created_s: float, num_top: int | None = None, prompt: tuple[TokenId, ...] | None = None
    ) -> None:
        self.every_token = num_top is not None
        self._head = {"model": model, "created_at": timestamp(created_s)}
        self._num_top = num_top or 0
        self._context = list(prompt) if prompt is not None else None
        self._reason = FinishReason.ABORTED
        self._call: ToolCall | None = None
        self._num_calls = 0
        self._before, self._after = self._line(self.said(_MARK, ""), done=False).rsplit(json.dumps(_MARK), 1)

    def said(self, text: str, thinking: str, calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """The part of an object that differs between the two forms."""
        raise NotImplementedError

    # --- whole

    def whole(self, fold: Fold) -> dict[str, Any]:
        choice = fold.choice(0)
        calls = [called(at, call) for at, call in enumerate(choice.tool_calls)]
        self._reason = choice.reason
        self._keep(choice.tokens)
        answer = self._head | self.said(choice.text, choice.reasoning, calls) | self._end(fold.usage)
        return answer | ({"logprobs": self._logprobs(choice.tokens)} if self.every_token else {})

    def nothing(self, reason: str) -> dict[str, Any]:
        """The answer to no prompt: the model is loaded now, or is not any more."""
        return self._head | self.said("", "") | {"done": True, "done_reason": reason}

    # --- streamed

    def delta(self, index: int, delta: Delta) -> str:
        self._keep(delta.tokens)
        if self.every_token and delta.tokens:
            return self._token_by_token(delta)
        thought = self._line(self.said("", delta.reasoning), done=False) if delta.reasoning else ""
        return thought + (self._before + sse.quote(delta.text) + self._after if delta.text else "")

    def _token_by_token(self, delta: Delta) -> str:
        if delta.reasoning and delta.text:
            thought = self._line(self.said("", delta.reasoning), done=False)
            return thought + self._token_by_token(Delta(delta.index, delta.text, delta.tokens))
        text = delta.text or delta.reasoning
        lines = []
        for part, token in zip(split(text, delta.tokens), delta.tokens, strict=True):
            said = self.said("", part) if delta.reasoning else self.said(part, "")
            lines.append(self._line(said | {"logprobs": self._logprobs([token])}, done=False))
        return "".join(lines)

    def called(self, index: int, delta: ToolCallDelta) -> str:
        """A call goes out when it is complete: its arguments are an object here."""
        line = self._flush() if delta.name or delta.id else ""
        self._call = self._call or ToolCall()
        self._call.id, self._call.name = self._call.id or delta.id, self._call.name or delta.name
        self._call.arguments += delta.arguments
        return line

    def _flush(self) -> str:
        if self._call is None:
            return ""
        line = self._line(self.said("", "", [called(self._num_calls, self._call)]), done=False)
        self._call, self._num_calls = None, self._num_calls + 1
        return line

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        self._reason = finished.reason
        return self._flush()

    def finished(self, usage: Usage) -> str:
        return sse.compact(self._head | self.said("", "") | self._end(usage)) + "\n"

    def failed(self, error: PublicanError) -> bytes:
        return sse.compact(error_body(error, 0)).encode("ascii") + b"\n"

    def waiting(self, queued: Queued | None) -> bytes:
        return STILL_WAITING

    # --- parts

    def _line(self, said: dict[str, Any], done: bool) -> str:
        return sse.compact(self._head | said | {"done": done}) + "\n"

    def _end(self, usage: Usage) -> dict[str, Any]:
        reason = "length" if self._reason is FinishReason.LENGTH else "stop"
        context = {} if self._context is None else {"context": self._context}
        return {"done": True, "done_reason": reason, **context, **durations(usage)}

    def _keep(self, tokens: Sequence[TokenOutput]) -> None:
        if self._context is not None:
            self._context.extend(token.id for token in tokens)

    def _logprobs(self, tokens: Sequence[TokenOutput]) -> list[dict[str, Any]]:
        if not self._num_top:
            return [_logprob(token) for token in tokens]
        return [_logprob(token) | {"top_logprobs": [_logprob(one) for one in token.top[: self._num_top]]} for token in tokens]


class Generated(Answer):
    """POST /api/generate."""

    def said(self, text: str, thinking: str, calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        return {"response": text} | ({"thinking": thinking} if thinking else {})


class Chatted(Answer):
    """POST /api/chat."""

    def said(self, text: str, thinking: str, calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = list(calls)
        return {"message": message}


def called(index: int, call: ToolCall) -> dict[str, Any]:
    """A tool call."""
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.parsed}}


def durations(usage: Usage) -> dict[str, int]:
    """In nanoseconds. Loading a model is never part of a request here."""
    return {
        "total_duration": _ns(usage.queue_s + usage.prefill_s + usage.decode_s),
        "load_duration": 0,
        "prompt_eval_count": usage.num_prompt_tokens,
        "prompt_eval_duration": _ns(usage.prefill_s),
        "eval_count": usage.num_completion_tokens,
        "eval_duration": _ns(usage.decode_s),
    }


def timestamp(seconds: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _logprob(token: TokenOutput | TopLogprob) -> dict[str, Any]:
    return {"token": piece_name(token.piece), "logprob": finite(token.logprob) or 0.0, "bytes": list(token.piece)}
