"""`AnswerEvents`: the events of one request as its caller reads them: thoughts and calls apart from the answer.

Pure; used on the event loop, by whoever reads the request's stream.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from publican.core.errors import InvalidParameter
from publican.core.events import ChoiceFinished, Delta, Event, Failed, FinishReason, TokenOutput
from publican.host.answers.answer import Answer, Part
from publican.host.answers.reading import Reading
from publican.host.answers.source import Source


class AnswerEvents:
    """Follows one request.

    Args:
        reading: what to look for.
        every_token: each token comes at once, with some delta, even if its text is part of a call (for log probabilities);
            otherwise it comes with the next text, and the last ones of an answer that ends in a call are left out.
    """

    def __init__(self, reading: Reading, every_token: bool = False) -> None:
        self._reading = reading
        self._every_token = every_token
        self._choices: dict[int, _Choice] = {}

    def of(self, event: Event) -> list[Event]:
        """What becomes of `event`, in order; nothing, while it is not clear what its text means."""
        match event:
            case Delta():
                return [*self._choice(event.index).feed(event)]
            case ChoiceFinished():
                return self._choice(event.index).finish(event)
            case Failed(InvalidParameter(name="grammar") as error) if self._reading.forced:
                text = str(error).removeprefix("grammar: ")
                return [Failed(InvalidParameter("tools", f"have schemas that an answer cannot be made to follow: {text}"))]
        return [event]

    def _choice(self, index: int) -> _Choice:
        if index not in self._choices:
            self._choices[index] = _Choice(index, self._reading, self._every_token)
        return self._choices[index]


class _Choice:
    """One choice: its text on the way through `_Visible` and `Answer`, and its tokens beside that."""

    def __init__(self, index: int, reading: Reading, every_token: bool) -> None:
        self._index = index
        self._answer = Answer(index, reading)
        self._visible = _Visible(reading)
        self._every_token = every_token
        self._tokens: deque[tuple[int, TokenOutput]] = deque()  # each with where its text ends, at most

    def feed(self, delta: Delta) -> list[Part]:
        parts = self._answer.feed(self._visible.feed(delta.text))
        end = self._visible.num_given + self._visible.num_held
        self._tokens.extend((end, token) for token in delta.tokens)
        return self._with_tokens(parts)

    def finish(self, event: ChoiceFinished) -> list[Event]:
        last = self._visible.finish()
        by_model = event.reason is FinishReason.STOP
        parts = [*self._answer.feed(last), *self._answer.finish(cut=not by_model)]
        calls = self._answer.num_calls > 0 and by_model
        end = replace(event, reason=FinishReason.TOOL_CALLS) if calls else event
        return [*self._with_tokens(parts, self._answer.num_calls == 0), end]

    def _with_tokens(self, parts: list[Part], even_alone: bool = False) -> list[Part]:
        """`parts` with the tokens whose text is complete, which go with the last delta of text; if there is none they wait for
        one, unless they may go `even_alone`."""
        at = next((i for i in reversed(range(len(parts))) if isinstance(parts[i], Delta)), None)
        if at is None and not (even_alone or self._every_token):
            return parts
        tokens = []
        idle = not self._answer.pending and not self._visible.num_held
        while self._tokens and (idle or self._tokens[0][0] <= self._answer.num_committed):
            tokens.append(self._tokens.popleft()[1])
        text = parts[at] if at is not None else None
        if at is not None and isinstance(text, Delta):
            parts[at] = replace(text, tokens=tuple(tokens))
        elif tokens:
            parts.append(Delta(self._index, "", tuple(tokens)))
        return parts


class _Visible:
    """Text without the special tokens that no reader wants to see."""

    def __init__(self, reading: Reading) -> None:
        self.num_given = 0
        self._hidden = reading.hidden
        self._kept = reading.marks
        self._source = Source()

    @property
    def num_held(self) -> int:
        return len(self._source.text)

    def feed(self, text: str) -> str:
        if self._hidden is None:
            return self._given(text)
        source, given = self._source, ""
        source.feed(text)
        while met := self._hidden.find(source.text):
            source.take(met.at + len(met.mark))
            given += source.commit() if met.mark in self._kept else source.commit()[: met.at]
        source.take(len(source.text) - (0 if source.ended else self._hidden.num_undecided(source.text)))
        return self._given(given + source.commit())

    def finish(self) -> str:
        self._source.ended = True
        return self.feed("")

    def _given(self, text: str) -> str:
        self.num_given += len(text)
        return text
