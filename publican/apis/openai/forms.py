"""The two forms of OpenAI's answers: completions, and chat completions. Pure: see `answers.Answer` for how they are used."""

from __future__ import annotations

from typing import Any

from publican.apis.fold import Choice, Fold
from publican.apis.logprobs import chat_logprobs, completion_logprobs, prompt_logprobs
from publican.apis.openai.answers import Answer, finish_reason, stop_reason
from publican.apis.openai.translate import Shape
from publican.apis.token_text import split
from publican.core.events import ChoiceFinished, Delta, Started, TokenOutput, ToolCallDelta
from publican.core.request import Request


class Completion(Answer):
    """POST /v1/completions."""

    kind = chunk_kind = "text_completion"

    def __init__(self, request: Request, shape: Shape, model: str, created_s: int) -> None:
        self._offsets: dict[int, int] = {}
        super().__init__(request, shape, model, created_s)

    def choice(self, choice: Choice, fold: Fold) -> dict[str, Any]:
        started = self._started(choice, fold)
        prompt = [(started.prompt_text, started.prompt)] if self.shape.echo else []
        parts = [*prompt, *choice.parts]
        text = "".join(text for text, _ in parts)
        logprobs = completion_logprobs(parts, 0, self.shape.token_ids_as_text) if self.shape.every_token else None
        answer = {
            "index": choice.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason(choice.reason),
            "stop_reason": stop_reason(choice.stopped_by, self.shape),
        }
        if self.shape.prompt_logprobs:
            answer["prompt_logprobs"] = prompt_logprobs(started)
        return answer

    def first(self, index: int, started: Started) -> list[dict[str, Any]]:
        return [self._piece(index, started.prompt_text, started.prompt)] if self.shape.echo else []

    def more(self, index: int, delta: Delta) -> list[dict[str, Any]]:
        return [self._piece(index, text, tokens) for text, tokens in _pieces(delta.text, delta.tokens, self.shape)]

    def last(self, index: int, finished: ChoiceFinished) -> dict[str, Any]:
        reason, stopped_by = finish_reason(finished.reason), stop_reason(finished.stopped_by, self.shape)
        return {"index": index, "text": "", "logprobs": None, "finish_reason": reason, "stop_reason": stopped_by}

    def _piece(self, index: int, text: str, tokens: tuple[TokenOutput, ...]) -> dict[str, Any]:
        logprobs = None
        if self.shape.every_token:
            offset = self._offsets.get(index, 0)
            self._offsets[index] = offset + len(text)
            logprobs = completion_logprobs([(text, tokens)], offset, self.shape.token_ids_as_text)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}


class ChatCompletion(Answer):
    """POST /v1/chat/completions."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def whole(self, fold: Fold) -> dict[str, Any]:
        answer = super().whole(fold)
        if self.shape.prompt_logprobs:
            answer["prompt_logprobs"] = prompt_logprobs(fold.started.get(0, Started(0)))
        return answer

    def choice(self, choice: Choice, fold: Fold) -> dict[str, Any]:
        return {
            "index": choice.index,
            "message": self._message(choice),
            "logprobs": self._logprobs(choice.tokens),
            "finish_reason": finish_reason(choice.reason),
            "stop_reason": stop_reason(choice.stopped_by, self.shape),
        }

    def _message(self, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.reasoning and self.shape.reasoning:
            message["reasoning_content"] = choice.reasoning
        if choice.calls:
            message["content"] = choice.text or None
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.tool_calls
            ]
        return message

    def first(self, index: int, started: Started) -> list[dict[str, Any]]:
        return [{"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}]

    def more(self, index: int, delta: Delta) -> list[dict[str, Any]]:
        """The tokens of a delta that is reasoning and answer go with the answer, so that none is named twice."""
        parts: list[dict[str, Any]] = []
        if delta.reasoning:
            tokens = () if delta.text else delta.tokens
            parts += self._parts(index, "reasoning_content", delta.reasoning, tokens) if self.shape.reasoning else []
        if delta.text or not delta.reasoning:
            parts += self._parts(index, "content", delta.text, delta.tokens)
        return parts

    def _parts(self, index: int, name: str, text: str, tokens: tuple[TokenOutput, ...]) -> list[dict[str, Any]]:
        return [
            {"index": index, "delta": {name: part}, "logprobs": self._logprobs(own), "finish_reason": None}
            for part, own in _pieces(text, tokens, self.shape)
        ]

    def calling(self, index: int, delta: ToolCallDelta) -> list[dict[str, Any]]:
        call: dict[str, Any] = {"index": delta.call}
        if delta.id or delta.name:
            call |= {"id": delta.id, "type": "function", "function": {"name": delta.name, "arguments": delta.arguments}}
        else:
            call["function"] = {"arguments": delta.arguments}
        return [{"index": index, "delta": {"tool_calls": [call]}, "logprobs": None, "finish_reason": None}]

    def last(self, index: int, finished: ChoiceFinished) -> dict[str, Any]:
        reason, stopped_by = finish_reason(finished.reason), stop_reason(finished.stopped_by, self.shape)
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason, "stop_reason": stopped_by}

    def _logprobs(self, tokens: list[TokenOutput] | tuple[TokenOutput, ...]) -> dict[str, Any] | None:
        if not self.shape.every_token:
            return None
        return chat_logprobs(tokens, self.shape.num_top, self.shape.token_ids_as_text)


def _pieces(text: str, tokens: tuple[TokenOutput, ...], shape: Shape) -> list[tuple[str, tuple[TokenOutput, ...]]]:
    """What a delta is sent as: all at once, or token by token."""
    if not shape.every_token or not tokens:
        return [(text, tokens)] if text else []
    return [(part, (token,)) for part, token in zip(split(text, tokens), tokens, strict=True)]
