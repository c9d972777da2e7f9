"""The methods of texts, lists and dicts that a template may call. Those that can make much out of little are bounded first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from publican.host.templating.meter import Meter, TemplateLimitError

_PLAIN = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric
    isprintable isspace istitle isupper lower partition removeprefix removesuffix splitlines startswith swapcase title upper
"""
MAX_WIDTH = 10_000

Method = Callable[..., Any]


def _padded(name: str) -> Method:
    def call(meter: Meter, text: str, width: int, *fill: str) -> str:
        if not isinstance(width, int) or width > MAX_WIDTH:
            raise TemplateLimitError(f"it pads a text to more than {MAX_WIDTH:,} characters")
        return getattr(text, name)(width, *fill)  # type: ignore[no-any-return]

    return call


def _stripped(name: str) -> Method:
    def call(meter: Meter, text: str, chars: str | None = None) -> str:
        meter.check_steps(len(text), len(chars or ""))
        return getattr(text, name)(chars)  # type: ignore[no-any-return]

    return call


def _searched_from_the_end(name: str) -> Method:
    def call(meter: Meter, text: str, part: str, *rest: Any) -> Any:
        meter.check_steps(len(text), len(part))  # unlike the search from the start, this one is not linear
        return getattr(text, name)(part, *rest)

    return call


def _split(name: str) -> Method:
    def call(meter: Meter, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
        if name == "rsplit":
            meter.check_steps(len(text), len(sep or ""))
        most = meter.limits.max_nodes + 1
        return getattr(text, name)(sep, most if maxsplit < 0 else min(maxsplit, most))  # type: ignore[no-any-return]

    return call


def replace(meter: Meter, text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    times = found if count < 0 else min(found, count)
    meter.check_text_len(len(text) + times * max(0, len(new) - len(old)))
    return text.replace(old, new, count)


def join(meter: Meter, separator: str, parts: Any) -> str:
    parts = bounded_list(meter, parts)
    meter.check_text_len(sum(len(part) for part in parts if isinstance(part, str)) + len(separator) * len(parts))
    return separator.join(parts)


def bounded_list(meter: Meter, values: Any) -> list[Any]:
    """`list(values)`, looking at the clock, since `values` may be computed on the way."""
    if isinstance(values, str | list | tuple | dict):
        meter.check_num_items(len(values))
    made = []
    for value in values:
        meter.tick()
        made.append(value)
        meter.check_num_items(len(made))
    return made


TEXT_METHODS: dict[str, Method | None] = {
    **dict.fromkeys(_PLAIN.split()),
    **{name: _padded(name) for name in ("center", "ljust", "rjust", "zfill")},
    **{name: _stripped(name) for name in ("strip", "lstrip", "rstrip")},
    **{name: _searched_from_the_end(name) for name in ("rfind", "rindex", "rpartition")},
    **{name: _split(name) for name in ("split", "rsplit")},
    "replace": replace,
    "join": join,
}
"""What templates may call on a text; None is the method as it is."""

LIST_METHODS = frozenset({"count", "index", "copy"})
DICT_METHODS = frozenset({"copy", "get", "items", "keys", "values"})
