"""`Answer`: the text of one choice in, what it means out: thoughts, calls, and the answer itself.

Pure; one per choice. What comes out does not depend on how the text was cut, but for where the pieces end.

    white space? thought? (text | calls)*
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from publican.core.events import Delta, ToolCallDelta
from publican.core.request import Tool
from publican.host.answers.formats import channels
from publican.host.answers.formats.format import CallFormat
from publican.host.answers.json_text import whole_characters
from publican.host.answers.marks import Marks
from publican.host.answers.reading import Reading
from publican.host.answers.source import SPACE, Source, Step
from publican.host.answers.thoughts import Tags

Part = Delta | ToolCallDelta

_BEGUN = re.compile(r"\s*(?:[\[{<].*)?|[^ ]*", re.DOTALL)
"""What may stand behind a mark if a call broke off there: nothing, a bracket and anything, or a name. Words are text."""
_GOES_ON = re.compile(r"[\s,;]*(?:[\[{<`].*|[^ ]*)", re.DOTALL)
"""What may stand behind a call if the next one, or the mark that ends both, broke off."""
_MOST_STRAYS = 64
"""Marks of one answer that turn out to begin no call. To find that out may take reading on to its end, so the rest are text."""


class Answer:
    """One choice, number `index`."""

    def __init__(self, index: int, reading: Reading) -> None:
        self.num_calls = 0
        self._index = index
        self._reading = reading
        self._source = Source()
        self._out: list[Part] = []
        self._cut = False
        self._reader = self._read()
        next(self._reader, None)

    @property
    def tools(self) -> Mapping[str, Tool]:
        return self._reading.tools

    @property
    def strict(self) -> bool:
        return self._reading.forced

    @property
    def num_committed(self) -> int:
        """How many characters of the text have become parts."""
        return self._source.num_committed

    @property
    def pending(self) -> bool:
        """Whether text is held back."""
        return bool(self._source.text)

    def feed(self, text: str) -> list[Part]:
        """More text; what is final now."""
        self._source.feed(text)
        next(self._reader, None)
        return self._taken()

    def finish(self, cut: bool = False) -> list[Part]:
        """No more text comes; what was held back. `cut`: it was not the model that ended it, so that what may be the beginning
        of a call is one, and not shown to a reader."""
        self._cut = cut
        self._source.ended = True
        next(self._reader, None)
        return self._taken()

    def _taken(self) -> list[Part]:
        out, self._out = self._out, []
        return out

    # --- reading

    def _read(self) -> Step[None]:
        if self._reading.channels:
            yield from self._read_channels()
            return
        thought = yield from self._read_thought()
        if thought:
            yield from self._source.skip_space()
            self._source.commit()
        if self._reading.format is None:
            yield from self._pass_text()
        else:
            yield from self._read_body(self._reading.format)

    def _read_thought(self) -> Step[bool]:
        """Read a thought that begins here, with white space before it. False: the answer's own text begins here."""
        source = self._source
        tags = self._reading.opened or (yield from self._opening_tags())
        if tags is None:
            source.at = 0
            return False
        end = Marks((tags.end,))
        if not self._reading.split:
            self._said(source.commit())
            yield from source.pass_until(end, lambda _: self._said(source.commit()))
            self._said(source.commit())
            return False
        yield from source.skip_space()
        source.commit()
        yield from self._pass_trimmed(end, self._thought)
        source.commit()
        return True

    def _opening_tags(self) -> Step[Tags | None]:
        if not self._reading.tags:
            return None
        yield from self._source.skip_space()
        start = yield from self._source.one_of(Marks(tags.start for tags in self._reading.tags))
        return next((tags for tags in self._reading.tags if tags.start == start), None)

    def _pass_text(self) -> Step[None]:
        while (yield from self._source.peek()):
            self._source.take_all()
            self._said(self._source.commit())

    def _read_body(self, format: CallFormat) -> Step[None]:
        """Text and calls. White space between the two belongs to neither."""
        source, num_strays = self._source, 0
        opens = Marks(format.opens)
        if format.bare:
            yield from source.skip_space()
            space = source.commit()
            if not (yield from self._read_calls(format, opens)):
                self._said(space)
        while True:
            space, mark = yield from self._pass_trimmed(opens, self._said)
            if not mark:
                self._said(source.commit())
                return
            source.at = len(space)
            source.commit()
            if num_strays < _MOST_STRAYS and (yield from self._read_calls(format, opens)):
                continue
            num_strays += 1
            source.take(len(mark))
            if self._cut and self._broke_off(opens):
                source.commit()
            else:
                self._said(space + source.commit())

    def _broke_off(self, opens: Marks) -> bool:
        """Whether the mark that was read opens a call that broke off; all that belongs to it is read then."""
        source = self._source
        following = opens.find(source.text, source.at)
        if following is not None:
            return not source.text[source.at : following.at].strip(SPACE)
        if _BEGUN.fullmatch(source.text, source.at) is None:
            return False
        source.take_all()
        return True

    def _read_calls(self, format: CallFormat, opens: Marks) -> Step[bool]:
        """Read the calls that begin here, and white space behind them. False: there are none, and nothing was read."""
        source = self._source
        found = yield from format.read(source, self)
        if not found:
            source.at = 0
            return False
        yield from source.skip_space()
        source.commit()
        another = yield from source.one_of(opens)
        source.at = 0
        if self._cut and not another and _GOES_ON.fullmatch(source.text):
            source.take_all()
            source.commit()
        return True

    def _read_channels(self) -> Step[None]:
        """Parts with a header, and whatever text there may be besides."""
        source = self._source
        yield from source.skip_space()
        addressed = yield from source.one_of(channels.ADDRESSED)
        source.at = 0
        if addressed and (header := (yield from self._read_header(0))) is not None:
            yield from self._read_part(header)
        while True:
            space, mark = yield from self._pass_trimmed(channels.STARTS, self._said)
            if not mark:
                self._said(source.commit())
                return
            header = yield from self._read_header(len(space))
            if header is None and self._cut and len(source.text) <= channels.LONGEST_HEADER:
                source.take_all()
                source.commit()
            elif header is None:
                source.at = len(space) + len(mark)
                self._said(source.commit())
            else:
                yield from self._read_part(header)

    def _read_header(self, start: int) -> Step[str | None]:
        """Read the header that begins at `start`, and the mark behind it; None if none stands here."""
        source, mark = self._source, channels.MESSAGE
        while (met := source.text.find(mark, start)) < 0:
            if len(source.text) - start >= channels.LONGEST_HEADER + len(mark) or not (yield from source.more()):
                return None
        if met - start > channels.LONGEST_HEADER:
            return None
        source.at = met + len(mark)
        return source.text[start:met]

    def _read_part(self, header: str) -> Step[None]:
        source, name = self._source, channels.called(header)
        if name is not None and self._reading.format is not None:
            self.begin(name)
            mark = yield from source.pass_until(channels.ENDS, self.arguments)
        elif not channels.is_thought(header):
            source.commit()
            mark = yield from source.pass_until(channels.ENDS, lambda _: self._said(source.commit()))
        elif self._reading.split:
            source.commit()
            _, mark = yield from self._pass_trimmed(channels.ENDS, self._thought)
        else:
            self._said(source.commit())
            mark = yield from source.pass_until(channels.ENDS, lambda _: self._said(source.commit()))
            self._said(mark)
        if mark in channels.STARTS.strings:
            source.at -= len(mark)
        source.commit()

    def _pass_trimmed(self, ends: Marks, out: Callable[[str], None]) -> Step[tuple[str, str]]:
        """Pass text to `out` up to one of `ends`; read that and the white space before it, and return the two, not committed.

        At the end of the text the mark is empty. Nothing may be read and not committed when this begins.
        """
        source, num_spaces = self._source, 0
        while True:
            met = ends.find(source.text, num_spaces)
            undecided = 0 if source.ended else ends.num_undecided(source.text, num_spaces)
            final = met.at if met else len(source.text) - undecided
            num_shown = len(source.text[num_spaces:final].rstrip(SPACE))
            if num_shown:
                source.at = num_spaces + num_shown
                out(source.commit())
                num_spaces = 0
            elif met:
                source.at = met.at + len(met.mark)
                return source.text[: met.at], met.mark
            else:
                num_spaces = final
                if not (yield from source.more()):
                    return source.take_all(), ""

    # --- what was read: thoughts, text, and, as `formats.format.Sink`, calls

    def _thought(self, text: str) -> None:
        self._give(Delta(self._index, "", reasoning=text))

    def _said(self, text: str) -> None:
        if text:
            self._give(Delta(self._index, text))

    def begin(self, name: str) -> None:
        self._source.commit()
        call, self.num_calls = self.num_calls, self.num_calls + 1
        if self._reading.format is not None and call < self._reading.most_calls:
            id = self._reading.format.call_id(name, self._reading.first_call + call)
            self._give(ToolCallDelta(self._index, call, "", id, whole_characters(name)))

    def arguments(self, text: str) -> None:
        self._source.commit()
        call = self.num_calls - 1
        if call < self._reading.most_calls:
            self._give(ToolCallDelta(self._index, call, text))

    def end(self) -> None:
        self._source.commit()

    def _give(self, part: Part) -> None:
        """Add `part`, to the one before where the two are of a kind."""
        last = self._out[-1] if self._out else None
        if isinstance(part, Delta) and isinstance(last, Delta) and bool(part.reasoning) == bool(last.reasoning):
            self._out[-1] = replace(last, text=last.text + part.text, reasoning=last.reasoning + part.reasoning)
        elif isinstance(part, ToolCallDelta) and isinstance(last, ToolCallDelta) and part.call == last.call:
            self._out[-1] = replace(last, arguments=last.arguments + part.arguments)
        else:
            self._out.append(part)
