"""What Anthropic's clients read: a message, whole or as the events that it grows by. Pure: events in, JSON out."""

from __future__ import annotations

from typing import Any

from publican.apis import sse
from publican.apis.anthropic.errors import error_body
from publican.apis.fold import Choice, Fold
from publican.apis.rendering import Rendering
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, FinishReason, Started, ToolCallDelta, Usage
from publican.core.ids import RequestId, TokenId

_REASONS = {FinishReason.LENGTH: "max_tokens", FinishReason.TOOL_CALLS: "tool_use"}
_DELTA_NAMES = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
_DELTA_FIELDS = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}


class Answer(Rendering):
    """One message.

    Args:
        id: the request's; the message has one like it.
        model: the name that the message carries.
    """

    def __init__(self, id: RequestId, model: str) -> None:
        self._id = id.replace("-", "_", 1)
        self._model = model
        self._open = ""
        self._num_blocks = 0
        self._finished: ChoiceFinished | None = None

    # --- whole

    def whole(self, fold: Fold) -> dict[str, Any]:
        choice = fold.choice(0)
        return self._message(_blocks(choice), stop(choice.reason, choice.stopped_by), usage(fold.usage))

    def _message(self, content: list[dict[str, Any]], stopped: dict[str, Any], counts: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            **stopped,
            "usage": counts,
        }

    # --- streamed

    def started(self, base: int, started: Started) -> str:
        unknown = {"stop_reason": None, "stop_sequence": None}
        message = self._message([], unknown, usage(Usage(started.num_prompt_tokens, 0)))
        return _event("message_start", message=message) + _event("ping")

    def delta(self, index: int, delta: Delta) -> str:
        thought = self._more("thinking", delta.reasoning) if delta.reasoning else ""
        return thought + (self._more("text", delta.text) if delta.text else "")

    def called(self, index: int, delta: ToolCallDelta) -> str:
        begun = ""
        if delta.id or delta.name:
            begun = self._close() + self._begin("tool_use", id=delta.id, name=delta.name, input={})
        return begun + (self._more("tool_use", delta.arguments) if delta.arguments else "")

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        self._finished = finished
        return self._close()

    def finished(self, counts: Usage) -> str:
        end = self._finished or ChoiceFinished(0, FinishReason.ABORTED)
        said = _event("message_delta", delta=stop(end.reason, end.stopped_by), usage=usage(counts))
        return said + _event("message_stop")

    def failed(self, error: PublicanError) -> bytes:
        return sse.event(error_body(error, 0), "error").encode("ascii")

    # --- the block that grows

    def _more(self, kind: str, text: str) -> str:
        begun = ""
        if self._open != kind:
            signed = {"signature": ""} if kind == "thinking" else {}
            begun = self._close() + self._begin(kind, **{_DELTA_FIELDS[kind]: ""}, **signed)
        # all but the text is the same for thousands of events, but a format string is as fast as anything kept
        return (
            f'{begun}event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._num_blocks},'
            f'"delta":{{"type":"{_DELTA_NAMES[kind]}","{_DELTA_FIELDS[kind]}":{sse.quote(text)}}}}}\n\n'
        )

    def _begin(self, kind: str, **fields: Any) -> str:
        self._open = kind
        return _event("content_block_start", index=self._num_blocks, content_block={"type": kind, **fields})

    def _close(self) -> str:
        if not self._open:
            return ""
        signed = ""
        if self._open == "thinking":
            delta = {"type": "signature_delta", "signature": ""}
            signed = _event("content_block_delta", index=self._num_blocks, delta=delta)
        said = signed + _event("content_block_stop", index=self._num_blocks)
        self._open = ""
        self._num_blocks += 1
        return said


def _event(kind: str, **fields: Any) -> str:
    return sse.event({"type": kind, **fields}, kind)


def _blocks(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        blocks.append({"type": "thinking", "thinking": choice.reasoning, "signature": ""})
    if choice.text:
        blocks.append({"type": "text", "text": choice.text})
    return blocks + [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed} for call in choice.tool_calls]


def stop(reason: FinishReason, stopped_by: str | TokenId | None) -> dict[str, Any]:
    """Why a message ended."""
    if reason is FinishReason.STOP and isinstance(stopped_by, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": stopped_by}
    return {"stop_reason": _REASONS.get(reason, "end_turn"), "stop_sequence": None}


def usage(counts: Usage) -> dict[str, Any]:
    """Tokens that were found in the prefix cache are counted apart."""
    return {
        "input_tokens": counts.num_prompt_tokens - counts.num_cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.num_cached_tokens,
        "output_tokens": counts.num_completion_tokens,
    }
