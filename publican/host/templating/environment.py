"""The sandbox that templates run in: Jinja's immutable sandbox, narrowed to what chat templates use, every step metered.

What a template can reach: the variables it is given, texts, lists and dicts and a list of their methods, Jinja's own loop,
macro and namespace objects, the filters of `filters`, and the functions raise_exception, strftime_now, namespace, dict, range,
cycler and joiner. One environment per template; renders on several threads do not meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import BuiltinMethodType, MethodType
from typing import Any, NoReturn, cast

from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter, safe_range
from jinja2.tests import TESTS
from jinja2.utils import Cycler, Joiner, Namespace, pass_context

from publican.host.templating import operators
from publican.host.templating.filters import make_filters, metered
from publican.host.templating.instrument import JOINED, MADE, TICK, instrument
from publican.host.templating.meter import Limits, Meter, TemplateLimitError
from publican.host.templating.text_methods import DICT_METHODS, LIST_METHODS, TEXT_METHODS

_OWN_OBJECTS = (LoopContext, Macro, TemplateReference, BlockReference, Namespace, Cycler, Joiner, Undefined)
_MAX_TIME_FORMAT = 256


class RefusedError(Exception):
    """The template itself refuses the conversation; the text is its own."""


class GenerationTag(Extension):
    """``{% generation %}`` marks what the model said, for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class MeteredEnvironment(ImmutableSandboxedEnvironment):
    """An environment for one template.

    Args:
        limits: of each render.
        now: the time that `strftime_now` gives.
    """

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, limits: Limits, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # would run filters while compiling
            extensions=[GenerationTag, loopcontrols],
            finalize=_finalize,
        )
        self._limits = limits
        self._local = threading.local()
        self.filters = make_filters(self.meter)
        self.tests = {name: metered(cast(Callable[..., Any], test), self.meter) for name, test in TESTS.items()}
        self.globals = {
            "raise_exception": _raise_exception,
            "strftime_now": lambda format: now().strftime(_checked_format(format)),
            "namespace": Namespace,
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
            "range": safe_range,
            "cycler": Cycler,
            "joiner": Joiner,
        }
        self.concat = self._concat  # type: ignore[method-assign]
        setattr(self, TICK, self._tick)
        setattr(self, MADE, self._made)
        setattr(self, JOINED, self._joined)
        self._hooks = (getattr(self, TICK), getattr(self, MADE), getattr(self, JOINED))

    @contextmanager
    def metering(self) -> Iterator[Meter]:
        """A render, on this thread."""
        self._local.meter = Meter(self._limits)
        try:
            yield self._local.meter
        finally:
            del self._local.meter

    def meter(self) -> Meter:
        meter: Meter = self._local.meter
        return meter

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(instrument(source), *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        if isinstance(obj, list | tuple):
            return attr in LIST_METHODS or attr in getattr(obj, "_fields", ())  # groupby gives named tuples
        if isinstance(obj, dict):
            return attr in DICT_METHODS
        return isinstance(obj, _OWN_OBJECTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        self.meter().tick()
        kind = type(obj)
        if kind is Namespace:  # what templates ask for most, without asking the sandbox seven questions
            held = object.__getattribute__(obj, "_Namespace__attrs")
            if attribute in held:
                return held[attribute]
        elif kind is dict and attribute in obj and not hasattr(dict, attribute):
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self.meter().tick()
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter = __self.meter()
        meter.tick()
        if any(__obj is hook for hook in __self._hooks):
            return __obj(*args)
        if isinstance(__obj, BuiltinMethodType | MethodType) and isinstance(__obj.__self__, str):
            kwargs.pop("_loop_vars", None)
            kwargs.pop("_block_vars", None)
            bounded = TEXT_METHODS[__obj.__name__]
            result = __obj(*args, **kwargs) if bounded is None else bounded(meter, __obj.__self__, *args, **kwargs)
        else:
            result = super().call(__context, __obj, *args, **kwargs)
        return meter.made(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return operators.binary(self.meter(), operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if not isinstance(value, BuiltinMethodType | MethodType) or value.__name__ not in ("format", "format_map"):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None
        is_map = value.__name__ == "format_map"

        def format(*args: Any, **kwargs: Any) -> str:
            meter = self.meter()
            if is_map:
                (kwargs,), args = args, ()
            values = [*args, *kwargs.values()]
            meter.check_written_out(values)
            meter.check_text_len(len(text) + text.count("{") * meter.weigh(values).chars)
            return _BoundedFormatter(self).vformat(text, args, kwargs)

        return format

    def _tick(self) -> bool:
        return True  # `call` has looked at the clock

    def _made(self, value: Any) -> Any:
        return self.meter().made(value)

    def _joined(self, *values: Any) -> str:
        meter = self.meter()
        parts = [meter.text_of(value) for value in values]
        meter.check_text_len(sum(map(len, parts)))
        return meter.made("".join(parts))

    def _concat(self, parts: Iterable[str]) -> str:
        parts = list(parts)
        self.meter().check_text_len(sum(map(len, parts)))
        return self.meter().made("".join(parts))


class _BoundedFormatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if sum(character.isdigit() for character in format_spec) > 4:
            raise TemplateLimitError("it pads a text to a width of more than four digits")
        return super().format_field(value, format_spec)


@pass_context
def _finalize(context: Context, value: Any) -> str:
    """What an expression puts out. That it wants the context keeps Jinja from calling it while compiling."""
    environment = context.environment
    assert isinstance(environment, MeteredEnvironment)
    meter = environment.meter()
    return meter.made(meter.text_of(value))


def _raise_exception(message: Any = "") -> NoReturn:
    raise RefusedError(message if isinstance(message, str) else repr(message)[:200])


def _checked_format(format: Any) -> str:
    if not isinstance(format, str) or len(format) > _MAX_TIME_FORMAT:
        raise TemplateLimitError(f"it formats the time with more than {_MAX_TIME_FORMAT} characters")
    return format
