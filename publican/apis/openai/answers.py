"""What OpenAI's answers have in common, whole or as chunks of a stream. Pure: events in, JSON out.

A stream writes thousands of chunks that differ in their text alone, so everything around the text is written once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from publican.apis import sse
from publican.apis.fold import Choice, Fold, num_thought
from publican.apis.openai.errors import error_body
from publican.apis.openai.translate import Shape
from publican.apis.rendering import Rendering
from publican.core.backend import ModelCard
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, FinishReason, Started, ToolCallDelta, Usage
from publican.core.ids import TokenId
from publican.core.request import Request


def model(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.name,
        "object": "model",
        "created": card.created_s,
        "owned_by": "publican",
        "root": card.name,
        "parent": None,
        "max_model_len": card.context_len or None,
        "loaded": card.loaded,
    }


def listed(card: ModelCard) -> list[dict[str, Any]]:
    """The model, and behind it what may be asked for in its place, as vLLM lists it."""
    own = model(card)
    return [own, *(own | {"id": name, "root": name, "parent": card.name} for name in card.adapters)]


def usage(counts: Usage, num_thoughts: int) -> dict[str, Any]:
    """`num_thoughts` of the completion's tokens were thoughts."""
    return {
        "prompt_tokens": counts.num_prompt_tokens,
        "completion_tokens": counts.num_completion_tokens,
        "total_tokens": counts.num_prompt_tokens + counts.num_completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counts.num_cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": num_thoughts},
    }


def finish_reason(reason: FinishReason) -> str:
    """OpenAI has no word for an answer that somebody ended; its text stands as it is."""
    return reason.value if reason in (FinishReason.LENGTH, FinishReason.TOOL_CALLS) else "stop"


def stop_reason(stopped_by: str | TokenId | None, shape: Shape) -> str | int | None:
    """vLLM's `stop_reason`: the string, or the token that the caller had named; null for the model's own end."""
    return stopped_by if isinstance(stopped_by, str) or stopped_by in shape.stop_token_ids else None


class Answer(Rendering):
    """One call's answer, whole or streamed. A subclass is one of the two forms.

    Args:
        request: gives the answer its id.
        model: the name that answers carry.
        created_s: when this is, in seconds since 1970.
    """

    kind = ""
    chunk_kind = ""

    def __init__(self, request: Request, shape: Shape, model: str, created_s: int) -> None:
        self.shape = shape
        self.every_token = shape.every_token
        self._id, self._model, self._created_s = request.id, model, created_s
        self._heads: dict[int, str] = {}
        self._tail = "" if shape.every_token or shape.running_usage else self._constant_tail()
        self._num_prompt_tokens = 0
        self._num_completion_tokens = 0
        self._num_thought = 0

    # --- whole

    def whole(self, fold: Fold) -> dict[str, Any]:
        choices = [self.choice(choice, fold) for choice in fold.in_order()]
        return {**self._named(self.kind), "choices": choices, "usage": usage(fold.usage, fold.num_thought)}

    def choice(self, choice: Choice, fold: Fold) -> dict[str, Any]:
        raise NotImplementedError

    def _started(self, choice: Choice, fold: Fold) -> Started:
        """The beginning of the request that `choice` belongs to."""
        return fold.started.get(choice.index - choice.index % self.shape.num_choices, Started(0))

    def _named(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created_s, "model": self._model}

    # --- streamed

    def started(self, base: int, started: Started) -> str:
        self._num_prompt_tokens += started.num_prompt_tokens
        indices = range(base, base + self.shape.num_choices)
        return self._chunks(choice for index in indices for choice in self.first(index, started))

    def delta(self, index: int, delta: Delta) -> str:
        self._num_completion_tokens += len(delta.tokens)
        if not self._tail or delta.reasoning:
            self._num_thought += num_thought(delta)
            return self._chunks(self.more(index, delta))
        return (self._heads.get(index) or self._head(index)) + sse.quote(delta.text) + self._tail if delta.text else ""

    def called(self, index: int, delta: ToolCallDelta) -> str:
        return self._chunks(self.calling(index, delta))

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        return self._chunk(self.last(index, finished))

    def finished(self, usage: Usage) -> str:
        return self._usage_chunk(usage) + sse.DONE.decode()

    def failed(self, error: PublicanError) -> bytes:
        return sse.event(error_body(error, 0)).encode("ascii") + sse.DONE

    # --- what a form makes of it

    def first(self, index: int, started: Started) -> list[dict[str, Any]]:
        """What a choice begins with."""
        raise NotImplementedError

    def more(self, index: int, delta: Delta) -> list[dict[str, Any]]:
        """More of a choice: one for each token, if each has something of its own to say."""
        raise NotImplementedError

    def calling(self, index: int, delta: ToolCallDelta) -> list[dict[str, Any]]:
        """More of a tool call; a form that has none says nothing."""
        return []

    def last(self, index: int, finished: ChoiceFinished) -> dict[str, Any]:
        """What a choice ends with."""
        raise NotImplementedError

    def _chunks(self, choices: Iterable[dict[str, Any]]) -> str:
        return "".join(map(self._chunk, choices))

    def _chunk(self, choice: dict[str, Any]) -> str:
        chunk = {**self._named(self.chunk_kind), "choices": [choice]}
        if self.shape.running_usage:
            chunk["usage"] = usage(Usage(self._num_prompt_tokens, self._num_completion_tokens), self._num_thought)
        elif self.shape.usage:
            chunk["usage"] = None
        return sse.event(chunk)

    def _usage_chunk(self, counts: Usage) -> str:
        if not self.shape.usage:
            return ""
        return sse.event({**self._named(self.chunk_kind), "choices": [], "usage": usage(counts, self._num_thought)})

    # --- the constant parts of a chunk that is nothing but text

    def _around(self, index: int) -> tuple[str, str]:
        """A text chunk of choice `index` before and after its text."""
        mark = "\x01"
        before, after = self._chunk(self.more(index, Delta(index, mark))[0]).rsplit(json.dumps(mark), 1)
        return before, after

    def _head(self, index: int) -> str:
        self._heads[index] = self._around(index)[0]
        return self._heads[index]

    def _constant_tail(self) -> str:
        return self._around(0)[1]
