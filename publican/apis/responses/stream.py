"""An answer of ``/v1/responses`` as it is being made: numbered events that open, fill and close items. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from publican.apis import sse
from publican.apis.fold import num_thought
from publican.apis.rendering import Rendering
from publican.apis.responses import items
from publican.apis.responses.items import Item, Labels
from publican.apis.token_text import split
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, Started, TokenOutput, ToolCallDelta, Usage


class Events(Rendering):
    """Follows `respond.Stream`. At most one item is open at a time; `_output` are those that are closed."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._num_top = labels.asked.num_top
        self.every_token = self._num_top is not None
        self._output: list[Item] = []
        self._open: _Open | None = None
        self._status = "completed"
        self._num_thought = 0
        self._num_sent = 0
        self._begun = False

    # --- what the core says

    def started(self, base: int, started: Started) -> str:
        return self._begin()

    def delta(self, index: int, delta: Delta) -> str:
        out = ""
        if delta.reasoning:
            self._num_thought += num_thought(delta)
            out += self._on(_Thought)
            out += self._more("response.reasoning_text.delta", delta.reasoning, {"content_index": 0})
        if delta.text:
            out += self._on(_Spoken) + self._spoken(delta.text, delta.tokens)
        return out

    def _spoken(self, text: str, tokens: tuple[TokenOutput, ...]) -> str:
        apart = [(text, tokens)]
        if self.every_token and tokens:
            apart = [(part, (token,)) for part, token in zip(split(text, tokens), tokens, strict=True)]
        out = ""
        for part, own in apart:
            logprobs = items.logprobs(own, self._num_top)
            assert self._open is not None
            self._open.logprobs += logprobs
            out += self._more("response.output_text.delta", part, {"content_index": 0, "logprobs": logprobs})
        return out

    def called(self, index: int, delta: ToolCallDelta) -> str:
        out = ""
        if not isinstance(self._open, _Called) or self._open.call != delta.call:
            out = self._on(_Called, delta)
        if delta.arguments:
            out += self._more("response.function_call_arguments.delta", delta.arguments, {})
        return out

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        self._status = items.status_of_answer(finished.reason)
        out = "" if self._output or self._open else self._on(_Spoken)  # an answer without a word is a message all the same
        return out + self._close(self._status)

    def finished(self, usage: Usage) -> str:
        counts = items.usage(usage, self._num_thought)
        return self._event(f"response.{self._status}", response=self._labels.response(self._status, self._output, counts))

    def failed(self, error: PublicanError) -> bytes:
        out = self._begin() + self._close("incomplete")
        out += self._event("response.failed", response=self._labels.failed(error, self._output))
        return out.encode("ascii")

    # --- items

    def _begin(self) -> str:
        if self._begun:
            return ""
        self._begun = True
        response = self._labels.response("in_progress")
        return self._event("response.created", response=response) + self._event("response.in_progress", response=response)

    def _on(self, kind: type[_Open], first: ToolCallDelta | None = None) -> str:
        """Have an item of `kind` open; a call always is a new one."""
        if type(self._open) is kind and first is None:
            return ""
        out = self._close("completed")
        at = len(self._output)
        self._open = kind(self._labels.id_of(kind.prefix, at), first)
        out += self._event("response.output_item.added", output_index=at, item=self._open.item("in_progress", empty=True))
        part = self._open.part(empty=True)
        return out + (self._about("response.content_part.added", content_index=0, part=part) if part else "")

    def _more(self, type: str, text: str, fields: dict[str, Any]) -> str:
        assert self._open is not None
        self._open.texts.append(text)
        return self._about(type, delta=text, **fields)

    def _close(self, status: str) -> str:
        if self._open is None:
            return ""
        out = "".join(self._about(type, **fields) for type, fields in self._open.done())
        part = self._open.part()
        if part:
            out += self._about("response.content_part.done", content_index=0, part=part)
        item = self._open.item(status)
        out += self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._open = None
        return out

    def _about(self, type: str, **fields: Any) -> str:
        """An event about the open item."""
        assert self._open is not None
        return self._event(type, item_id=self._open.id, output_index=len(self._output), **fields)

    def _event(self, type: str, **fields: Any) -> str:
        number = self._num_sent
        self._num_sent += 1
        return sse.event({"type": type, "sequence_number": number, **fields}, type)


class _Open:
    """An item that is being filled."""

    prefix = ""

    def __init__(self, id: str, first: ToolCallDelta | None) -> None:
        self.id = id
        self.texts: list[str] = []
        self.logprobs: list[Any] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def item(self, status: str, empty: bool = False) -> Item:
        raise NotImplementedError

    def part(self, empty: bool = False) -> Item | None:
        """What its text stands in, where the stream opens and closes that too."""
        return None

    def done(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """The events that say the whole of its text once more."""
        raise NotImplementedError


class _Thought(_Open):
    prefix = "rs"

    def item(self, status: str, empty: bool = False) -> Item:
        return items.thought(self.id, "" if empty else self.text, status)

    def part(self, empty: bool = False) -> Item | None:
        return {"type": "reasoning_text", "text": "" if empty else self.text}

    def done(self) -> Sequence[tuple[str, dict[str, Any]]]:
        return [("response.reasoning_text.done", {"content_index": 0, "text": self.text})]


class _Spoken(_Open):
    prefix = "msg"

    def item(self, status: str, empty: bool = False) -> Item:
        return items.message(self.id, [] if empty else [items.text_part(self.text, self.logprobs)], status)

    def part(self, empty: bool = False) -> Item | None:
        return items.text_part("" if empty else self.text, () if empty else self.logprobs)

    def done(self) -> Sequence[tuple[str, dict[str, Any]]]:
        return [("response.output_text.done", {"content_index": 0, "text": self.text, "logprobs": self.logprobs})]


class _Called(_Open):
    prefix = "fc"

    def __init__(self, id: str, first: ToolCallDelta | None) -> None:
        super().__init__(id, first)
        assert first is not None
        self.call, self._call_id, self._name = first.call, first.id, first.name

    def item(self, status: str, empty: bool = False) -> Item:
        return items.function_call(self.id, self._call_id, self._name, "" if empty else self.text, status)

    def done(self) -> Sequence[tuple[str, dict[str, Any]]]:
        return [("response.function_call_arguments.done", {"arguments": self.text, "name": self._name})]
