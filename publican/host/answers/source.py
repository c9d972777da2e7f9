"""`Source`: a text that still grows, for readers that are written as if it were all there.

A reader is a generator: where it needs more text it yields, and is resumed when there is some, or when there will be none. So
it cannot tell how the text was cut. What it has read but not yet committed can be taken back.

    text    [ read, not committed | not read yet ]
                                  at
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from publican.host.answers.marks import Marks

T = TypeVar("T")
Step = Generator[None, None, T]
"""A piece of reading that gives a T in the end."""

SPACE = " \t\r\n"
_MOST_SIDE_BY_SIDE = 8
_NOT_SPACE = re.compile(r"[^ \t\r\n]")


class Source:
    """See above. `num_committed` counts characters since the beginning."""

    __slots__ = ("at", "ended", "num_committed", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.num_committed = 0

    def feed(self, piece: str) -> None:
        self.text += piece

    @property
    def raw(self) -> str:
        """What was read and not committed."""
        return self.text[: self.at]

    def take(self, num_chars: int) -> str:
        """Read so many characters; they must be there."""
        start, self.at = self.at, self.at + num_chars
        return self.text[start : self.at]

    def take_all(self) -> str:
        return self.take(len(self.text) - self.at)

    def commit(self) -> str:
        """What was read stays read; returns it."""
        assert self.at >= 0, "what was committed was given back"
        raw = self.raw
        self.num_committed += self.at
        self.text, self.at = self.text[self.at :], 0
        return raw

    # --- readers

    def more(self) -> Step[bool]:
        """Wait until the text has grown, or ended. False: there was nothing to wait for."""
        if self.ended:
            return False
        yield
        return True

    def peek(self) -> Step[str]:
        """The next character, not read; empty at the end."""
        while self.at >= len(self.text):
            if not (yield from self.more()):
                return ""
        return self.text[self.at]

    def skip_space(self, also: str = "") -> Step[None]:
        """Read white space, and characters of `also`."""
        while True:
            char = yield from self.peek()
            if not char or (char not in SPACE and char not in also):
                return
            if also:
                self.at += 1
            else:
                met = _NOT_SPACE.search(self.text, self.at)
                self.at = met.start() if met else len(self.text)

    def one_of(self, marks: Marks) -> Step[str]:
        """Read the mark that stands here; empty, and nothing read, if none does."""
        while True:
            mark = marks.match(self.text, self.at)
            if mark or not marks.may_begin(self.text, self.at) or not (yield from self.more()):
                self.at += len(mark)
                return mark

    def run_of(self, marks: Marks) -> Step[bool]:
        """Read the marks that stand side by side here, and the white space between them; whether there was one.

        No format has as many as are read at most: a model that repeats one for ever is not followed to the end each time.
        """
        met = False
        for _ in range(_MOST_SIDE_BY_SIDE):
            before = self.at
            yield from self.skip_space()
            if not (yield from self.one_of(marks)):
                self.at = before
                break
            met = True
        return met

    def pass_until(self, marks: Marks, out: Callable[[str], None]) -> Step[str]:
        """Like `until`, but what stands before the mark is given to `out` as it comes; the mark, empty at the end."""
        while True:
            met = marks.find(self.text, self.at)
            undecided = 0 if self.ended else marks.num_undecided(self.text, self.at)
            final = met.at if met else len(self.text) - undecided
            if final > self.at:
                out(self.take(final - self.at))
            elif met:
                self.at += len(met.mark)
                return met.mark
            elif not (yield from self.more()):
                return ""

    def until(self, marks: Marks) -> Step[tuple[str, str]]:
        """Read up to the next mark and over it: what stood before it, and the mark; at the end of the text, no mark."""
        start = scanned = self.at
        while True:
            met = marks.find(self.text, scanned)
            if met is not None:
                self.at = met.at + len(met.mark)
                return self.text[start : met.at], met.mark
            scanned = max(start, len(self.text) - marks.num_undecided(self.text, start))
            if not (yield from self.more()):
                self.at = len(self.text)
                return self.text[start:], ""
