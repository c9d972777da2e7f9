"""Templates that mean harm: each is stopped, within its time, within its memory, and reaches nothing."""

from __future__ import annotations

import threading
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import InvalidRequest
from publican.host.templating.chat_template import MAX_SOURCE_LEN, ChatTemplate
from publican.host.templating.meter import Limits

LIMITS = Limits(cpu_s=0.3, max_bytes=128 << 20)
MESSAGES = [{"role": "user", "content": "hi"}]
MILLION = "{% set s = 'x' * 1000000 %}"


def render(source: str, limits: Limits = LIMITS, **variables: Any) -> str:
    return ChatTemplate(source, limits=limits).render(MESSAGES, variables=variables)


def refused(source: str, **variables: Any) -> str:
    start = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        render(source, **variables)
    assert time.thread_time() - start < LIMITS.cpu_s + 1.0
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


def grow(step: str, start: str = "[1]", turns: int = 60) -> str:
    """Does `step` to `n.x` again and again."""
    return f"{{% set n = namespace(x={start}) %}}{{% for i in range({turns}) %}}{{% set n.x = {step} %}}{{% endfor %}}"


TURN = "{% for i in range(99999) %}"
END = "{% endfor %}"
TAKES_FOR_EVER = {
    "nested loops": TURN * 3 + END * 3,
    "loops whose filter lets nothing through": TURN + "{% for j in range(99999) if false %}" + END * 2,
    "macros that call themselves twice": (
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a filter in a filter": "{% set a = range(99999) | list %}{{ a | select('in', a) | list }}",
    "lists made in a loop": TURN + "{{ range(99999) | map('string') | list | length }}" + END,
    "long texts compared": "{% set s = 'a' * 4000000 %}{% set t = 'a' * 4000000 %}" + TURN + "{{ s == t }}" + END,
    "long texts searched": "{% set s = 'a' * 4000000 %}" + TURN + "{{ 'ab' in s }}" + END,
    "cycles": TURN + "{{ loop.cycle(*range(1000)) }}" + END,
}


@pytest.mark.parametrize("name", TAKES_FOR_EVER)
def test_time(name: str) -> None:
    assert "takes more than 0.3 seconds" in refused(TAKES_FOR_EVER[name])


TOO_LARGE = {
    "a range": "{% for i in range(10**9) %}{% endfor %}",
    "a text times": "{{ 'a' * 10**9 }}",
    "times a text": "{{ 10**9 * 'a' }}",
    "a list times": "{{ [1] * 10**9 }}",
    "a power": "{{ 2 ** 1000000000 }}",
    "squares": grow("n.x * n.x", "10"),
    "sums of texts": grow("n.x + n.x", "'a'"),
    "joined texts": grow("n.x ~ n.x", "'a'"),
    "sums of lists": grow("n.x + n.x"),
    "a queue in itself": "{% set n = namespace(q=[1]) %}{% for i in range(99) %}{% set _ = n.q.append(n.q) %}{% endfor %}",
    "a queue of many": "{% set n = namespace(q=[]) %}{% for i in range(99999) %}{% set _ = n.q.append(i) %}{% endfor %}",
    "JSON of a generator": MILLION + "{{ ([s] * 100) | map('upper') | tojson }}",
    "sums of tuples": grow("n.x + n.x", "(1,)"),
    "blocks of text": "{% set x = 'a' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "data in a loop": "{% for i in range(99999) %}" + "x" * 100_000 + "{% endfor %}",
    "data in a macro's loop": "{% macro f() %}{% for i in range(99999) %}"
    + "x" * 100_000
    + "{% endfor %}{% endmacro %}{{ f() }}",
    "center": "{{ 'a' | center(10**9) }}",
    "center, the method": "{{ 'a'.center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ '1'.zfill(10**9) }}",
    "percent width": "{{ '%999999999d' % 1 }}",
    "percent star": "{{ '%*d' % (999999999, 1) }}",
    "percent precision": "{{ '%.999999999f' % 1 }}",
    "format filter": "{{ '%999999999d' | format(1) }}",
    "format width": "{{ '{:999999999}'.format(1) }}",
    "format width in a value": "{{ '{:{}}'.format(1, 999999999) }}",
    "format_map width": "{{ '{a:999999999}'.format_map({'a': 1}) }}",
    "percent, one text often": MILLION + "{{ ('%(a)s' * 200000) % {'a': s} }}",
    "format, one text often": MILLION + "{{ ('{0}' * 200000).format(s) }}",
    "indent": "{{ 'a\\nb' | indent(10**9) }}",
    "indent by a text": MILLION + "{{ ('\\n' * 1000000) | indent(s) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "replace": MILLION + "{{ s.replace('x', s) }}",
    "replace nothing": MILLION + "{{ s.replace('', s) }}",
    "replace filter": MILLION + "{{ s | replace('x', s) }}",
    "join": MILLION + "{{ s.join(['a'] * 100000) }}",
    "join filter": MILLION + "{{ (['a'] * 100000) | join(s) }}",
    "join of repeated": MILLION + "{{ [s, s, s, s, s] | join }}",
    "JSON indent": "{{ [[[1]]] | tojson(indent=10**9) }}",
    "JSON separators": MILLION + "{{ [1, 2] | tojson(separators=(s, s)) }}",
    "many parts": "{{ ('a ' * 2000000).split() }}",
    "many lines": "{{ ('\\n' * 4000000).splitlines() }}",
    "characters": "{{ ('é' * 4000000) | list }}",
    "characters sorted": "{{ ('ba' * 2000000) | sort }}",
    "lists added up": "{{ ([[1]] * 100000) | sum(start=[]) }}",
    "rounded": "{{ 1.5 | round(10**9, 'ceil') }}",
    "a number of four million digits": "{{ ('f' * 4000000) | int(base=16) % 12345 }}",
    "time": "{{ strftime_now('%A' * 1000000) }}",
    "escaped": "{{ ('&' * 4000000) | e }}",
    "marked text, center": "{{ ('<' | e).center(10**9) }}",
    "marked text, format": "{{ ('{:999999999}' | safe).format(1) }}",
    "marked text, product": "{{ ('<' | e) * 10**9 }}",
    "searched from the end": "{{ ('a' * 2000000).rfind('b' + 'a' * 1000000) }}",
    "split from the end": "{{ ('a' * 2000000).rsplit('b' + 'a' * 1000000) }}",
    "stripped": "{% set s = 'abcdefghijklmnop' * 100000 %}{{ s.strip(s) }}",
    "many texts kept": MILLION + "".join(f"{{% set v{i} = s[{i + 1}:] %}}" for i in range(200)),
    "many texts made": "{% set s = 'a' * 4000000 %}" + "{% set t = s.upper() %}" * 100,
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_size(name: str) -> None:
    tracemalloc.start()
    try:
        assert "was stopped" in (text := refused(TOO_LARGE[name])) or "Range too big" in text or "4300 digits" in text
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 350e6


NESTED = {
    "shared lists, written": grow("[n.x, n.x]") + "{{ n.x }}",
    "shared lists, compared": grow("[n.x, n.x]")
    + grow("[m.x, m.x]").replace("n.x", "m.x").replace("n =", "m =")
    + "{{ n == m }}",
    "shared tuples, as a key": grow("(n.x, n.x)", "(1,)") + "{{ {n.x: 1} }}",
    "deep tuples, as a key": grow("(n.x,)", "(1,)", 99_999) + "{{ {n.x: 1} }}",
    "shared dicts, as JSON": grow("{'a': n.x, 'b': n.x}", "{}") + "{{ n.x | tojson }}",
    "dicts by call": grow("dict(a=n.x, b=n.x)", "{}"),
    "batches": grow("(n.x + n.x) | batch(2) | list"),
    "groups": grow("[n.x, n.x] | groupby(0) | list", "[[1]]"),
    "items": grow("{'a': n.x, 'b': n.x} | dictsort", "{}"),
}
SHARED_NAMESPACES = (
    "{% set n = namespace(p=namespace(x=1)) %}"
    "{% for i in range(60) %}{% set m = namespace(l=n.p, r=n.p) %}{% set n.p = m %}{% endfor %}"
)


@pytest.mark.parametrize("name", NESTED)
def test_nesting(name: str) -> None:
    assert "list" in refused(NESTED[name])


@pytest.mark.parametrize(
    "end",
    [
        "{{ n.p }}",
        "{{ '%s' % [n.p] }}",
        "{{ '{}'.format(n.p) }}",
        "{{ [n.p] | join }}",
        "{{ n.p ~ '' }}",
        "{{ [n.p] | string }}",
    ],
)
def test_namespaces_that_share(end: str) -> None:
    assert "list of more than" in refused(SHARED_NAMESPACES + end)


def test_a_namespace_in_itself() -> None:
    refused("{% set n = namespace() %}{% set n.a = n %}{{ n }}")


REACHES_OUT = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ().__class__.__base__.__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ (''|attr('__class__'))|attr('__mro__') }}{{ raise_exception('empty') }}",
    "{{ raise_exception.__globals__.os }}",
    "{{ raise_exception.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}{{ raise_exception('empty') }}",
    "{% for i in [1] %}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{{ ([1] | map('upper')).gi_frame.f_globals }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ (messages | map('attr', '__class__') | list)[0].__mro__ }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{a.__class__.__mro__}'.format_map({'a': 1}) }}",
    "{{ ('{0.__class__.__mro__}' | attr('format'))(1) }}",
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f(1) }}",
    "{{ ('{0.__class__.__mro__}' | safe).format(1) }}",
    "{{ (['{0.__class__.__mro__}'] | map(attribute='format') | list)[0](1) }}",
    "{% set n = namespace() %}{{ n.__class__.__mro__ }}",
    "{% set n = namespace(__class__=1) %}{{ n._Namespace__attrs.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages.sort() }}",
    "{{ 'a'.encode().decode() }}",
    "{{ (1).to_bytes(10**9, 'big') }}",
    "{{ 'a'.translate({97: 'b'}) }}",
    "{{ config.items() }}",
    "{{ lipsum.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ request.application }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import environ %}",
    "{% extends 'x' %}",
    "{% autoescape true %}{% endautoescape %}",
    "{{ x | urlize }}",
    "{{ x | xmlattr }}",
    "{% debug %}",
    "{% do messages %}",
]


@pytest.mark.parametrize("source", REACHES_OUT)
def test_reaching_out(source: str) -> None:
    assert "<class" not in refused(source)


def test_what_is_left_of_reaching_out_says_nothing() -> None:
    for source in [
        "{{ ''|attr('__class__') }}",
        "{{ messages.__class__.__init__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(1) }}",
    ]:
        assert render(source) == ""


COMPILER = {
    "parentheses": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "lists": "{{ " + "[" * 5_000 + "1" + "]" * 5_000 + " }}",
    "ifs": "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
    "loops": "{% for a in [1] %}" * 200 + "x" + "{% endfor %}" * 200,
    "a long sum": "{{ " + "+".join(["1"] * 20_000) + " }}",
    "a long list": "{{ [" + ",".join(["a"] * 60_000) + "] }}",
    "loops around many names": "{% for a in b %}" * 16 + "x" + "{% endfor %}" * 16,
    "nots": "{{ " + "not " * 20_000 + "1 }}",
    "a long number": "{{ " + "9" * 100_000 + " }}",
    "no end": "{{ " * 50_000,
    "no end of a comment": "{# " * 50_000,
    "too long": "a" * (MAX_SOURCE_LEN + 1),
    "constants": "{{ 'a' * 10**9 }}{{ 'a' | center(10**9) }}{{ [1] | batch(10**9, 1) | list }}",
    "syntax": "{% if %}",
    "nul": "{% \0 %}",
}


@pytest.mark.parametrize("name", COMPILER)
def test_compiling(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(InvalidRequest):
        render(COMPILER[name])
    assert time.thread_time() - start < 5


def test_recursion() -> None:
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ]:
        assert "RecursionError" in refused(source)


def test_variables_that_nest_deep() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    for source in ["{{ x }}", "{{ [x] }}", "{{ x | tojson }}", "{{ x == x[0] }}"]:
        with suppress(InvalidRequest):
            assert len(render(source, x=deep)) < 100_000


def test_the_limits_are_per_render_and_per_thread() -> None:
    template = ChatTemplate("{% for i in range(n) %}{% for j in range(20000) %}{% endfor %}{% endfor %}done", limits=LIMITS)
    results: dict[int, str] = {}

    def run(index: int, num: int) -> None:
        try:
            results[index] = template.render(MESSAGES, variables={"n": num})
        except InvalidRequest as error:
            results[index] = str(error)

    threads = [threading.Thread(target=run, args=(index, 1 if index % 2 else 99_999)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        assert results[index] == "done" if index % 2 else "takes more than" in results[index]
    assert template.render(MESSAGES, variables={"n": 1}) == "done"


_names = st.sampled_from(["messages", "s", "n", "'a'", "1", "[1, 2]", "{'a': 1}", "range(9)", "none", "loop"])
_filters = st.sampled_from(
    ["upper", "list", "join", "tojson", "length", "first", "sort", "string", "reverse", "trim", "map('upper')", "batch(2)"]
)
_operators = st.sampled_from(["+", "*", "~", "%", "**", "-", "==", "in", "//"])
_attributes = st.sampled_from(
    [".split", ".format", "[0]", "[1:]", ".items()", ".x", "['role']", ".__class__", "()", "(1)", ".join(s)"]
)
_expressions = st.recursive(
    _names,
    lambda inner: st.one_of(
        st.builds("({} | {})".format, inner, _filters),
        st.builds("({} {} {})".format, inner, _operators, inner),
        st.builds("{}{}".format, inner, _attributes),
        st.builds("[{}, {}]".format, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_expressions, min_size=1, max_size=6))
def test_any_program_ends(expressions: list[str]) -> None:
    body = "".join(f"{{% set s = {expression} %}}{{{{ s }}}}" for expression in expressions)
    source = "{% set s = 'ab' %}{% set n = 3 %}{% for i in range(20) %}" + body + "{% endfor %}"
    start = time.thread_time()
    with suppress(InvalidRequest):
        render(source, Limits(cpu_s=0.1, max_text=100_000, max_bytes=1_000_000, max_nodes=5_000))
    assert time.thread_time() - start < 2
