"""`Lark`: a grammar being put together, in the dialect of Lark that llguidance reads. Knows the model's special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from publican.core.ids import TokenId
from publican.host.answers.marks import Marks

_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
"""One way to write white space, that of Hugging Face's templates; and what a schema wants beyond our means is let go."""


class Lark:
    """Rules, collected.

    Args:
        special: the ids of special tokens by their texts. Such a token is not its text: a grammar must name it.
        marks: those texts, to be found.
    """

    def __init__(self, special: Mapping[str, TokenId], marks: Marks) -> None:
        self._special = special
        self._marks = marks
        self._rules: list[str] = []
        self._named: set[str] = set()

    def text(self, text: str) -> str:
        """An expression for exactly `text`."""
        parts: list[str] = []
        at = 0
        while met := self._marks.find(text, at):
            parts += [quoted(text[at : met.at])] if met.at > at else []
            parts.append(f"<[{self._special[met.mark]}]>")
            at = met.at + len(met.mark)
        return " ".join([*parts, quoted(text[at:])] if at < len(text) else parts)

    def sequence(self, *expressions: str) -> str:
        """One after the other; empty ones are left out."""
        return " ".join(filter(None, expressions))

    def rule(self, body: str, options: str = "") -> str:
        """The name of a new rule."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{options}: {body}")
        return name

    def once(self, name: str, body: str) -> str:
        """A rule by a name of its own, which is no name of `rule`'s kind; made the first time only."""
        if not self.has(name):
            self._named.add(name)
            self._rules.append(f"{name}: {body}")
        return name

    def has(self, name: str) -> bool:
        """Whether `once` made it."""
        return name in self._named

    def pattern(self, pattern: str) -> str:
        """The name of a rule for a regular expression, without its slashes."""
        return self.rule(f"/{pattern}/")

    def up_to(self, end: str, most: int | None = None) -> str:
        """An expression for any text (of so many characters at most) and the first `end` after it."""
        if met := self._marks.find(end):  # what stands before the token is a part of any text
            return f"{self.rule(_any(most, met.at))} {self.text(end[met.at :])}"
        return self.rule(_any(most), f"[suffix={quoted(end)}]")

    def json(self, schema: Mapping[str, Any]) -> str:
        """The name of a rule for JSON of `schema`."""
        text = json.dumps({**schema, "x-guidance": _LAYOUT}, ensure_ascii=True)
        return self.rule("%json " + text.replace("::=", r"\u003a:="))  # which is how GBNF is told from Lark

    def one_of(self, expressions: Sequence[str]) -> str:
        return expressions[0] if len(expressions) == 1 else self.rule(" | ".join(expressions))

    def several(self, expression: str, between: str, most: int) -> str:
        """One to `most` of `expression`."""
        if most == 1:
            return expression
        again = f"{between} {expression}" if between else expression
        return f"{expression} ({again}){{0,{most - 1}}}"

    def grammar(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules]) + "\n"


def _any(most: int | None, more: int = 0) -> str:
    return "/(?s:.*)/" if most is None else f"/(?s:.{{0,{most + more}}})/"


def quoted(text: str) -> str:
    """`text` as a string in Lark's syntax."""
    return json.dumps(text, ensure_ascii=False).replace("::=", r"\u003a:=")
