"""JSON that is still being written: where a value ends, its text passed on as it comes. Readers for a `Source`.

Tolerant: it counts brackets and knows strings, and leaves judging to whoever parses the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from publican.host.answers.marks import Marks
from publican.host.answers.source import Source, Step

_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_SCALAR_END = re.compile(r"[\s,}\]]")
_SURROGATE = re.compile("[\ud800-\udfff]")
NO_MARKS = Marks(())


def pass_value(source: Source, ends: Marks, out: Callable[[str], None]) -> Step[bool]:
    """Read the object, list or string that begins here, and give its text to `out` piece by piece.

    False: it broke off, at the end of the text or before one of `ends` (which count only outside of strings).
    """
    scan = _Scan(ends)
    while True:
        num_chars, done = scan.feed(source.text, source.at, source.ended)
        if num_chars:
            out(source.take(num_chars))
        if done:
            return not scan.broken
        if not (yield from source.more()):
            return False


def skip_value(source: Source, ends: Marks) -> Step[bool]:
    """Read the value that begins here. False: it broke off, as in `pass_value`."""
    if (yield from source.peek()) in '{["':
        scan = _Scan(ends)
        while True:
            num_chars, done = scan.feed(source.text, source.at, source.ended)
            source.at += num_chars
            if done:
                return not scan.broken
            if not (yield from source.more()):
                return False
    while True:
        met = _SCALAR_END.search(source.text, source.at)
        if met is not None:
            source.at = met.start()
            return True
        source.at = len(source.text)
        if not (yield from source.more()):
            return False


def read_string(source: Source) -> Step[str | None]:
    """Read the string that begins here; None if it broke off."""
    start = source.at
    if not (yield from skip_value(source, NO_MARKS)):
        return None
    value = parse(source.text[start : source.at])
    return value if isinstance(value, str) else source.text[start + 1 : source.at - 1]


def parse(text: str) -> Any:
    """The value that `text` is; None if it is no JSON. Strings may hold raw line ends: models write them."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def dump(value: Any) -> str:
    """`value` as one line of JSON that any UTF-8 encoder takes."""
    return whole_characters(json.dumps(value, ensure_ascii=False))


def whole_characters(text: str) -> str:
    """`text` with UTF-16 pairs joined and without halves of them, which JSON's escapes can say and UTF-8 cannot."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Scan:
    """Where the value ends that begins with the first character it is given."""

    def __init__(self, ends: Marks) -> None:
        self.broken = False
        self._ends = ends
        self._outside = re.compile("|".join((_OUTSIDE.pattern, *map(re.escape, ends.strings))))
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, start: int, is_all: bool) -> tuple[int, bool]:
        """(how many characters from `start` on belong to the value, whether it is over). Asked again, go on behind them."""
        at = start
        if self._escaped and at < len(text):
            at += 1
            self._escaped = False
        while (met := (_IN_STRING if self._in_string else self._outside).search(text, at)) is not None:
            at = met.end()
            match met.group():
                case '"':
                    self._in_string = not self._in_string
                case "\\":
                    if at == len(text):
                        self._escaped = True
                        return at - start, False
                    at += 1
                case "{" | "[":
                    self._depth += 1
                case "}" | "]":
                    self._depth -= 1
                case _:
                    self.broken = True
                    return met.start() - start, True
            if self._depth <= 0 and not self._in_string:
                return at - start, True
        held = 0 if self._in_string or is_all else self._ends.num_undecided(text, at)
        return len(text) - held - start, False
