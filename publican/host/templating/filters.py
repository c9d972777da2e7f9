"""Jinja's filters as templates may use them: cheap ones as they are, costly ones bounded, the rest left out.

Left out are those that no chat template needs and that would each need a bound of their own (urlize, wordwrap, xmlattr, …).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import markupsafe
from jinja2 import filters as jinja
from jinja2.environment import Environment
from jinja2.utils import pass_environment
from markupsafe import Markup

from publican.host.templating import operators, text_methods
from publican.host.templating.meter import Meter, TemplateLimitError

MeterSource = Callable[[], Meter]
Filter = Callable[..., Any]

_AS_THEY_ARE = """
    abs attr capitalize count d default dictsort first float int items last length lower map reject rejectattr reverse select
    selectattr title truncate upper wordcount
"""
_OF_WHOLE_LISTS = "groupby max min sort unique"
_MAX_STEP = 10_000
_MAX_INDENT = 64


def make_filters(meter: MeterSource) -> dict[str, Filter]:
    """The filters of one environment; `meter` gives the meter of the render that is going on."""
    filters = {name: jinja.FILTERS[name] for name in _AS_THEY_ARE.split()}
    filters |= {name: _of_whole_list(jinja.FILTERS[name], meter) for name in _OF_WHOLE_LISTS.split()}
    filters |= _bounded(meter)
    return {name: metered(function, meter) for name, function in filters.items()}


def metered(function: Filter, meter: MeterSource) -> Filter:
    """`function`, with its call looked at and its result accounted for. Keeps what Jinja has noted on it."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return meter().made(function(*args, **kwargs))

    return call


def _of_whole_list(function: Filter, meter: MeterSource) -> Filter:
    """`function`, which goes through all of its second argument at once (the first is Jinja's environment)."""

    @wraps(function)
    def call(environment: Environment, values: Any, *args: Any, **kwargs: Any) -> Any:
        return function(environment, text_methods.bounded_list(meter(), values), *args, **kwargs)

    return call


def _bounded(meter: MeterSource) -> dict[str, Filter]:
    def text(value: Any) -> str:
        return meter().text_of(value)

    def replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
        return text_methods.replace(meter(), text(value), text(old), text(new), -1 if count is None else count)

    def trim(value: Any, chars: str | None = None) -> str:
        meter().check_steps(len(value := text(value)), len(chars or ""))
        return str(value.strip(chars))

    @pass_environment
    def join(environment: Environment, values: Any, d: Any = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            values = map(jinja.make_attrgetter(environment, attribute), values)
        parts = [text(value) for value in text_methods.bounded_list(meter(), values)]
        return text_methods.join(meter(), text(d), parts)

    def as_list(values: Any) -> list[Any]:
        return text_methods.bounded_list(meter(), values)

    def format(value: Any, *args: Any, **kwargs: Any) -> str:
        if args and kwargs:
            raise TypeError("format takes either positional or keyword values, not both")
        return operators.percent_format(meter(), text(value), kwargs or args)

    def escape(value: Any) -> Markup:
        meter().check_text_len(6 * len(value := text(value)))
        return markupsafe.escape(value)

    def total(values: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
        items = text_methods.bounded_list(meter(), values)
        if attribute is not None:
            items = [item[attribute] for item in items]
        for item in items:
            start = operators.binary(meter(), "+", start, item)
        return start

    return {
        "replace": replace,
        "trim": trim,
        "join": join,
        "list": as_list,
        "format": format,
        "escape": escape,
        "e": escape,
        "safe": lambda value: Markup(text(value)),
        "string": text,
        "sum": total,
        "tojson": _tojson(meter),
        **_stepped(meter),
    }


def _stepped(meter: MeterSource) -> dict[str, Filter]:
    """Those whose second value says how much they make."""

    def center(value: Any, width: int = 80) -> str:
        _check_step(width, text_methods.MAX_WIDTH)
        return meter().text_of(value).center(width)

    def indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        num_chars = len(width) if isinstance(width, str) else width
        _check_step(num_chars, 1_000)
        value = meter().text_of(value)
        meter().check_text_len(len(value) + (value.count("\n") + 1) * num_chars)
        return jinja.do_indent(value, width, first, blank)

    def batch(values: Any, linecount: int, fill_with: Any = None) -> Iterator[list[Any]]:
        _check_step(linecount, _MAX_STEP)
        return jinja.do_batch(values, linecount, fill_with)

    def slices(values: Any, num: int, fill_with: Any = None) -> Any:
        _check_step(num, _MAX_STEP)
        return jinja.sync_do_slice(text_methods.bounded_list(meter(), values), num, fill_with)

    def rounded(value: float, precision: int = 0, method: str = "common") -> float:
        _check_step(abs(precision), 100)
        return jinja.do_round(value, precision, method)  # type: ignore[arg-type]

    return {"center": center, "indent": indent, "batch": batch, "slice": slices, "round": rounded}


def _tojson(meter: MeterSource) -> Filter:
    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as Hugging Face's templates expect it: nothing escaped for HTML."""
        width = len(indent) if isinstance(indent, str) else indent or 0
        if width > _MAX_INDENT or any(len(separator) > _MAX_INDENT for separator in separators or ()):
            raise TemplateLimitError(f"it indents JSON by more than {_MAX_INDENT}")
        if isinstance(value, Iterator):  # what `map` and `select` give
            value = text_methods.bounded_list(meter(), value)
        weight = meter().weigh(value)
        meter().check_text_len(weight.chars + weight.nodes * (2 * _MAX_INDENT if separators else 4 + width * weight.depth))
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    return tojson


def _check_step(value: Any, most: int) -> None:
    if not isinstance(value, int) or value > most:
        raise TemplateLimitError(f"it asks for steps of more than {most:,}")
