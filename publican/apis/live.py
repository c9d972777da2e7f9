"""`Live`: the answers that are being made right now, for dialects in which a second call asks about the first. Event loop only.

A dialect gives an answer to be watched under a name of its caller's choosing; what it has said so far can then be read, and
the request be found in order to end it. The last answer under a name stays readable until the next one takes its place.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from publican.core.events import ChoiceFinished, Delta, Event, Failed, Finished, TokenOutput, Usage
from publican.core.ids import RequestId

MAX_KEPT = 64
"""Names that are remembered, and those of all answers that are being made; the one that was begun first goes first."""


@dataclass(slots=True)
class Said:
    """What one answer has said so far: its first choice.

    `tokens` are its tokens that have log probabilities, with the text that each completes; `early` is text whose token is
    still to come. `usage` and `finished` are known at the end.
    """

    request: RequestId
    name: str = ""
    texts: list[str] = field(default_factory=list)
    early: str = ""
    tokens: list[tuple[str, tuple[TokenOutput, ...]]] = field(default_factory=list)
    finished: ChoiceFinished | None = None
    usage: Usage | None = None
    ended: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def saw(self, event: Event) -> None:
        if isinstance(event, Delta) and event.index == 0:
            self.texts.append(event.text)
            self.early += event.text
            if event.tokens:
                if event.tokens[0].logprob is not None:
                    self.tokens.append((self.early, event.tokens))
                self.early = ""
        elif isinstance(event, ChoiceFinished) and event.index == 0:
            self.finished = event
        elif isinstance(event, Finished | Failed):
            self.usage = event.usage if isinstance(event, Finished) else None
            self.ended = True


class Live:
    """All of them, by user and name.

    Attributes:
        since_s, last_s: when this was made, and when the newest answer began, by the monotonic clock.
        num_begun: answers so far.
    """

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], Said] = OrderedDict()
        self.since_s = self.last_s = time.monotonic()
        self.num_begun = 0

    def watch(self, user: str, name: str, request: RequestId) -> Said:
        """A new answer of `user` begins, which they call `name`."""
        said = Said(request, name)
        self.num_begun += 1
        self.last_s = time.monotonic()
        self._said[user, name] = said
        self._said.move_to_end((user, name))
        if len(self._said) > MAX_KEPT:
            ended = [key for key, one in self._said.items() if one.ended]
            for key in ended[: len(self._said) - MAX_KEPT]:
                del self._said[key]
        return said

    def find(self, user: str, name: str) -> Said | None:
        """The newest answer that `user` calls `name`."""
        return self._said.get((user, name))

    def of(self, user: str) -> list[Said]:
        """The answers of `user`, the newest last."""
        return [said for (owner, _), said in self._said.items() if owner == user]
