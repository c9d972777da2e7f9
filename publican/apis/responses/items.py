"""The objects that an answer of ``/v1/responses`` is made of. Pure: values in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from publican.apis.errors import status_of
from publican.apis.fold import Choice, Fold
from publican.apis.logprobs import chat_logprobs
from publican.apis.responses.translate import Asked
from publican.core.errors import PublicanError
from publican.core.events import FinishReason, TokenOutput, Usage

Item = dict[str, Any]


class Labels:
    """What is the same in everything that one answer says: its name, its model, its time."""

    def __init__(self, asked: Asked, model: str, created_s: int) -> None:
        self.asked = asked
        self._number = asked.request.id.partition("-")[2]
        self._model, self._created_s = model, created_s

    def id_of(self, prefix: str, index: int) -> str:
        """The name of item `index`."""
        return f"{prefix}_{self._number}{index:02x}"

    def response(self, status: str, output: Sequence[Item] = (), usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": reason,
            "model": self._model,
            "output": list(output),
            "usage": usage,
            **self.asked.echoed,
        }

    def failed(self, error: PublicanError, output: Sequence[Item]) -> dict[str, Any]:
        code = "rate_limit_exceeded" if status_of(error) == 429 else "server_error"
        return {**self.response("failed", output), "error": {"code": code, "message": str(error)}}


def whole(labels: Labels, fold: Fold) -> dict[str, Any]:
    """The answer when it is complete."""
    choice = fold.choice(0)
    status = status_of_answer(choice.reason)
    return labels.response(status, _items(labels, choice, status), usage(fold.usage, fold.num_thought))


def _items(labels: Labels, choice: Choice, status: str) -> list[Item]:
    items: list[Item] = []
    if choice.reasoning:
        items.append(thought(labels.id_of("rs", 0), choice.reasoning, "completed"))
    if choice.text or not choice.calls:
        spoken = tuple(token for delta in choice.deltas if delta.text or not delta.reasoning for token in delta.tokens)
        part = text_part(choice.text, logprobs(spoken, labels.asked.num_top))
        items.append(message(labels.id_of("msg", len(items)), [part], status))
    for call in choice.tool_calls:
        items.append(function_call(labels.id_of("fc", len(items)), call.id, call.name, call.arguments, status))
    return items


def status_of_answer(reason: FinishReason) -> str:
    return "incomplete" if reason is FinishReason.LENGTH else "completed"


def message(id: str, parts: Sequence[Item], status: str) -> Item:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def text_part(text: str, logprobs: Sequence[Any] = ()) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def thought(id: str, text: str, status: str) -> Item:
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": id, "type": "reasoning", "status": status, "summary": [], "content": content}


def function_call(id: str, call_id: str, name: str, arguments: str, status: str) -> Item:
    return {"id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments}


def logprobs(tokens: Sequence[TokenOutput], num_top: int | None) -> list[Any]:
    content: list[Any] = [] if num_top is None else chat_logprobs(tokens, num_top)["content"]
    return content


def usage(counts: Usage, num_thought: int) -> dict[str, Any]:
    return {
        "input_tokens": counts.num_prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.num_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counts.num_completion_tokens,
        "output_tokens_details": {"reasoning_tokens": num_thought},
        "total_tokens": counts.num_prompt_tokens + counts.num_completion_tokens,
    }
