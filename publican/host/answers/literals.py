"""Values as models write them when they do not quite write JSON: Python's, JavaScript's, or with quotes of their own.

One recursive reader for all: its strings may stand in any of the given quotes, its words may be bare. Values only; nothing is
evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from publican.host.answers.marks import Marks
from publican.host.answers.source import Source, Step

PYTHON_QUOTES = ('"""', "'''", '"', "'")
_MAX_DEPTH = 64
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[-+]?(\d++(_++\d++)*+(\.\d++)?+|\.\d++)([eE][-+]?\d++)?+\.?+(?![\w.])")
"""Possessive, so that a long row of digits that is none takes no longer than one that is."""
_WORD = re.compile(r"[\w$][\w$.\-]*")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None, "undefined": None}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|[\s\S])")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": ""}
_CLOSING = {"{": "}", "[": "]", "(": ")"}


def parse_literal(text: str, quotes: Sequence[str] = PYTHON_QUOTES, escapes: bool = True) -> Any:
    """The value that all of `text` is: numbers, strings, lists, tuples (as lists), objects, and the words for the rest.

    Raises:
        ValueError: it is not one.
    """
    reader = _Reader(text, quotes, escapes)
    value = reader.value(0)
    if reader.space() < len(text):
        raise ValueError("there is more than one value")
    return value


def skip_literal(source: Source, quotes: Sequence[str], ends: str, escapes: bool = True) -> Step[bool]:
    """Read up to the first of the characters `ends` that stands outside of strings and brackets. False: none came."""
    brackets: list[str] = []
    opening = re.compile("|".join(map(re.escape, sorted(quotes, key=len, reverse=True))))
    beginnings = {quote[:n] for quote in quotes for n in range(1, len(quote) + 1)}
    longest = max(map(len, quotes))
    while char := (yield from source.peek()):
        while len(source.text) - source.at < longest and source.text[source.at :] in beginnings:
            if not (yield from source.more()):
                break
        if quote := opening.match(source.text, source.at):
            source.at = quote.end()
            if not (yield from _skip_string(source, quote.group(), escapes)):
                return False
            continue
        if not brackets and char in ends:
            return True
        if char in _CLOSING:
            brackets.append(_CLOSING[char])
        elif brackets and char == brackets[-1]:
            brackets.pop()
        source.at += 1
    return False


def _skip_string(source: Source, quote: str, escapes: bool) -> Step[bool]:
    if not escapes:
        return bool((yield from source.until(Marks((quote,))))[1])
    marks = Marks((quote, "\\"))
    while True:
        _, mark = yield from source.until(marks)
        if mark == quote:
            return True
        if not mark or not (yield from source.peek()):
            return False
        source.at += 1


class _Reader:
    def __init__(self, text: str, quotes: Sequence[str], escapes: bool) -> None:
        self._text = text
        self._at = 0
        self._quotes = sorted(quotes, key=len, reverse=True)
        self._escapes = escapes

    def space(self) -> int:
        met = _SPACE.match(self._text, self._at)
        self._at = met.end() if met else self._at
        return self._at

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deep")
        self.space()
        if (quote := self._quote()) is not None:
            return self._strings(quote)
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._object(depth)
            case "[" | "(" as char:
                return self._list(_CLOSING[char], depth)
        return self._plain()

    def _quote(self) -> str | None:
        return next((quote for quote in self._quotes if self._text.startswith(quote, self._at)), None)

    def _strings(self, quote: str | None) -> str:
        """Strings side by side are one, as in Python."""
        text = ""
        while quote is not None:
            text += self._string(quote)
            before = self._at
            self.space()
            quote = self._quote() if self._escapes else None
            if quote is None:
                self._at = before
        return text

    def _string(self, quote: str) -> str:
        start = at = self._at + len(quote)
        while (at := self._text.find(quote, at)) >= 0:
            before = self._text[start:at]
            if self._escapes and (len(before) - len(before.rstrip("\\"))) % 2:
                at += 1
                continue
            self._at = at + len(quote)
            return _ESCAPE.sub(_unescaped, before) if self._escapes else before
        raise ValueError("a string does not end")

    def _list(self, closing: str, depth: int) -> list[Any]:
        self._at += 1
        items: list[Any] = []
        while not self._closes(closing):
            items.append(self.value(depth + 1))
            self._separator(closing)
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        self._at += 1
        items: dict[str, Any] = {}
        while not self._closes("}"):
            quote = self._quote()
            key = self._strings(quote) if quote is not None else self._word()
            self._expect(":")
            items[key] = self.value(depth + 1)
            self._separator("}")
        return items

    def _closes(self, closing: str) -> bool:
        if self._text[self.space() : self._at + 1] != closing:
            return False
        self._at += 1
        return True

    def _separator(self, closing: str) -> None:
        if self._text[self.space() : self._at + 1] != closing:
            self._expect(",")

    def _expect(self, char: str) -> None:
        if self._text[self.space() : self._at + 1] != char:
            raise ValueError(f"{char!r} is missing")
        self._at += 1

    def _plain(self) -> Any:
        if met := _NUMBER.match(self._text, self._at):
            self._at = met.end()
            digits = met.group().replace("_", "")
            number = int(digits) if digits.lstrip("+-").isdigit() else float(digits)
            if math.isinf(number):
                raise ValueError("it is too large for a number")
            return number
        word = self._word()
        if word.lower() not in _WORDS:
            raise ValueError("it has a word that stands for no value")
        return _WORDS[word.lower()]

    def _word(self) -> str:
        met = _WORD.match(self._text, self._at)
        if met is None:
            raise ValueError("it is no value")
        self._at = met.end()
        return met.group()


def _unescaped(met: re.Match[str]) -> str:
    escape = met.group(1)
    if escape[0] in "xuU" and len(escape) > 1:
        return _character(int(escape[1:], 16))
    if escape.isdigit() and int(escape[0]) < 8 and all(c in "01234567" for c in escape):
        return _character(int(escape, 8))
    return _ESCAPES.get(escape, escape if escape in "\\'\"/" else "\\" + escape)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF else "\ufffd"
