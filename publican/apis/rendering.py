"""`Rendering`: the events of an answer, one after the other, as text. A dialect says what each kind becomes. Pure."""

from __future__ import annotations

from publican.apis import sse
from publican.apis.feed import Item
from publican.apis.fold import merge
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, Finished, Queued, Started, ToolCallDelta, Usage


class Rendering:
    """Follows `respond.Stream`. Used for one answer.

    What a method gives goes out as it is, so it is ASCII; nothing is the empty text. `index` is that of a choice in the whole
    call, as opposed to the one in an event, which counts within one prompt.
    """

    media_type = sse.MEDIA_TYPE
    every_token = False
    """Whether deltas that came together must stay apart, because each has something of its own to say."""

    def render(self, items: list[Item]) -> bytes:
        out: list[str] = []
        for base, event in items if self.every_token else merge(items):
            if type(event) is Delta:
                out.append(self.delta(base + event.index, event))
            elif type(event) is ToolCallDelta:
                out.append(self.called(base + event.index, event))
            elif isinstance(event, ChoiceFinished):
                out.append(self.choice_finished(base + event.index, event))
            elif isinstance(event, Started):
                out.append(self.started(base, event))
            elif isinstance(event, Finished):
                out.append(self.finished(event.usage))
        return "".join(out).encode("ascii")

    def started(self, base: int, started: Started) -> str:
        """The prompt whose first choice is `base` is computed."""
        return ""

    def delta(self, index: int, delta: Delta) -> str:
        raise NotImplementedError

    def called(self, index: int, delta: ToolCallDelta) -> str:
        return ""

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        return ""

    def finished(self, usage: Usage) -> str:
        return ""

    def failed(self, error: PublicanError) -> bytes:
        raise NotImplementedError

    def waiting(self, queued: Queued | None) -> bytes:
        return sse.comment(queued)
