"""What OpenAI's answers have in common, whole or as chunks of a stream. Pure: events in, JSON out.

A stream writes thousands of chunks that differ in their text alone, so everything around the text is written once.
"""

from __future__ import annotations

import json
from typing import Any

from publican.apis import sse
from publican.apis.feed import Item
from publican.apis.fold import Choice, Fold, merge, num_thought
from publican.apis.openai.errors import error_body
from publican.apis.openai.translate import Shape
from publican.core.backend import ModelCard
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, Finished, FinishReason, Queued, Started, ToolCallDelta, Usage
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


class Answer:
    """One call's answer, whole or streamed. A subclass is one of the two forms.

    Args:
        request: gives the answer its id.
        model: the name that answers carry.
        created_s: when this is, in seconds since 1970.
    """

    kind = ""
    chunk_kind = ""
    media_type = sse.MEDIA_TYPE

    def __init__(self, request: Request, shape: Shape, model: str, created_s: int) -> None:
        self.shape = shape
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

    def render(self, items: list[Item]) -> bytes:
        out: list[str] = []
        for base, event in items if self.shape.every_token else merge(items):
            if type(event) is Delta:
                self._num_completion_tokens += len(event.tokens)
                if self._tail and not event.reasoning:
                    if event.text:
                        index = base + event.index
                        out.append((self._heads.get(index) or self._head(index)) + sse.quote(event.text) + self._tail)
                else:
                    self._num_thought += num_thought(event)
                    out.extend(self._chunk(choice) for choice in self.delta(base + event.index, event))
            elif type(event) is ToolCallDelta:
                out.extend(self._chunk(choice) for choice in self.called(base + event.index, event))
            elif isinstance(event, ChoiceFinished):
                out.append(self._chunk(self.last(base + event.index, event)))
            elif isinstance(event, Started):
                self._num_prompt_tokens += event.num_prompt_tokens
                for index in range(base, base + self.shape.num_choices):
                    out.extend(self._chunk(choice) for choice in self.first(index, event))
            elif isinstance(event, Finished):
                out.append(self._usage_chunk(event.usage) + sse.DONE.decode())
        return "".join(out).encode("ascii")

    def failed(self, error: PublicanError) -> bytes:
        return sse.event(error_body(error, 0)).encode("ascii") + sse.DONE

    def waiting(self, queued: Queued | None) -> bytes:
        return sse.comment(queued)

    def first(self, index: int, started: Started) -> list[dict[str, Any]]:
        """What a choice begins with."""
        raise NotImplementedError

    def delta(self, index: int, delta: Delta) -> list[dict[str, Any]]:
        """More of a choice: one for each token, if each has something of its own to say."""
        raise NotImplementedError

    def called(self, index: int, delta: ToolCallDelta) -> list[dict[str, Any]]:
        """More of a tool call; a form that has none says nothing."""
        return []

    def last(self, index: int, finished: ChoiceFinished) -> dict[str, Any]:
        """What a choice ends with."""
        raise NotImplementedError

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
        before, after = self._chunk(self.delta(index, Delta(index, mark))[0]).rsplit(json.dumps(mark), 1)
        return before, after

    def _head(self, index: int) -> str:
        self._heads[index] = self._around(index)[0]
        return self._heads[index]

    def _constant_tail(self) -> str:
        return self._around(0)[1]
