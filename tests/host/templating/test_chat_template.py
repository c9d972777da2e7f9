"""Templates render as transformers renders them, and say what is wrong when they cannot."""

from __future__ import annotations

import contextlib
import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment
from transformers.utils.chat_template_utils import render_jinja_template

from publican.core.errors import InvalidRequest
from publican.host.templating.chat_template import ChatTemplate
from publican.store.gguf import read_gguf
from tests.host.templating.conversations import CONVERSATIONS, STYLES
from tests.host.tokenizer.real_files import llama_cpp_models

USER = [{"role": "user", "content": "hi"}]
BEYOND_TRANSFORMERS = ("access to attribute 'append'", "Object of type generator is not JSON")
LAX = {"Kimi-K2-Instruct", "Kimi-K2-Thinking", "llama-cpp-deepseek-r1"}


def in_a_laxer_sandbox(source: str, messages: Any, tools: Any, add_generation_prompt: bool, names: dict[str, str]) -> str:
    """Where lists may be changed, and whatever can be listed is JSON."""
    environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, default=list, **how)
    messages = copy.deepcopy(messages)
    names = {"messages": messages, "tools": tools, "add_generation_prompt": add_generation_prompt, **names}
    return environment.from_string(source).render(names)


def assert_same(source: str, name: str, lax: bool = False, **variables: Any) -> None:
    """`lax`: transformers refuses what this template does, and other servers do not."""
    messages, tools = CONVERSATIONS[name]
    template = ChatTemplate(source, "<s>", "</s>")
    for add_generation_prompt in (True, False):
        names = {"bos_token": "<s>", "eos_token": "</s>", **variables}
        expected, complaint = "", ""
        try:
            rendered, _ = render_jinja_template(
                [messages], tools=tools, chat_template=source, add_generation_prompt=add_generation_prompt, **names
            )
            expected = rendered[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, we must refuse too
            complaint = str(error)
        if lax and complaint.startswith(BEYOND_TRANSFORMERS):
            expected, complaint = in_a_laxer_sandbox(source, messages, tools, add_generation_prompt, names), ""
        if complaint:
            with pytest.raises(InvalidRequest) as caught:
                template.render(messages, add_generation_prompt, tools=tools, variables=variables)
            assert complaint.rstrip(".")[:300] in str(caught.value)
        else:
            assert template.render(messages, add_generation_prompt, tools=tools, variables=variables) == expected


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_styles(style: str, name: str) -> None:
    assert_same(STYLES[style], name)
    assert_same(STYLES[style], name, enable_thinking=False, date_string="1 Jan 2030")


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_default_model(default_model: Path, name: str) -> None:
    assert_same(read_gguf(default_model).metadata["tokenizer.chat_template"], name)


@pytest.mark.slow
def test_every_template_of_llama_cpp() -> None:
    paths = sorted((llama_cpp_models() / "templates").glob("*.jinja"))
    assert len(paths) > 40
    for path in paths:
        for name in CONVERSATIONS:
            assert_same(path.read_text(encoding="utf-8"), name, lax=path.stem in LAX)


@pytest.mark.parametrize(
    "source",
    [
        "{{ {'b': 'ü<', 'a': [1, none, true, 1.5]} | tojson }}",
        "{{ {'b': 1, 'a': 2} | tojson(indent=2, sort_keys=true) }}",
        "{{ [1, 2] | tojson(separators=(',', ':')) }}",
        "{{ 'ü' | tojson(ensure_ascii=true) }}",
        "  {% if true %}\n  x\n  {% endif %}\n y",
        "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ 1 + 1.5 }} {{ -3 }} {{ 'a' * 3 }} {{ [1] + [2] }} {{ 6 / 4 }}",
        "{{ 'a,b,,c'.split(',') }}{{ 'a b'.split() }}{{ 'abcab'.rsplit('b', 1) }}{{ 'x'.join(['a', 'b']) }}",
        "{{ ' a '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'aXb'.lower().upper().title() }}|{{ 'a-b'.replace('-', '+') }}",
        "{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1,2,3][-1] }}{{ [1,2,3][:2] }}{{ 'abc'.startswith('ab') }}{{ 'abc'.find('c') }}",
        "{{ messages | map(attribute='role') | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
        "{{ [3,1,2] | sort | join('-') }}{{ [1,1,2] | unique | list }}{{ [1,2,3] | sum }}{{ [1,2,3] | max }}",
        "{{ [{'a': 1}, {'a': 2}] | groupby('a') | list }}{{ {'b': 1, 'a': 2} | dictsort }}{{ {'a': 1} | items | list }}",
        "{{ range(5) | batch(2) | list }}{{ range(5) | slice(2) | list }}{{ 'a\nb' | indent(2) }}{{ 'a' | center(5) }}|",
        "{{ 3.14159 | round(2) }}{{ '42' | int + 1 }}{{ 'x' | int(7) }}{{ -1 | abs }}{{ '1.5' | float }}",
        "{{ 'a b c' | wordcount }}{{ [1,2] | first }}{{ '%s' | format('x') }}{{ 'abcdefgh' | truncate(2) }}",
        "{{ '<b>' | e }}{{ '<b>' | safe }}{{ ('<' | e) + '<' }}{{ ('<' | e) ~ '<' }}",
        "{{ x | default('d') }}{{ x is defined }}{{ none is none }}{{ 'a' in 'abc' }}",
        "{{ 1 is number }}{{ [] is iterable }}{{ {} is mapping }}{{ 'a' is string }}{{ 2 is divisibleby 2 }}",
        "{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns }}",
        "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}{% call m(3) %}!{% endcall %}",
        "{% for i in [1,2,3] %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %}",
        "{% for i in [1,2] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{{ loop.changed(i) }}{% endfor %}",
        "{% for i in [[1,[2]],[3]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}{% endif %}{% endfor %}",
        "{% set x %}a{{ 1 }}b{% endset %}{{ x | upper }}{% filter upper %}c{% endfilter %}{% with y = 2 %}{{ y }}{% endwith %}",
        "{% block a %}in{% endblock %}{{ self.a() }}{% raw %}{{ x }}{% endraw %}{# comment #}",
        "{{ {'a': 1}.get('b', 'c') }}{{ {'a': 1}.keys() | list }}{{ {'a': 1}.items() }}{{ dict(a=1) }}",
        "{{ ['a', ('b',), {1: none}] }}{{ (1, 2) }}{{ [[], {}] }}",
        "{{ messages[0].content is string and messages[0]['role'] == 'user' }}{{ messages[0].nothing }}{{ messages[5] }}",
        "{{ cycler('a', 'b').next() }}{% set j = joiner() %}{{ j() }}a{{ j() }}b",
        "{{ 1 < 2 < 3 }}{{ 1 if false }}{{ not 1 }}{{ 'a' ~ 1 ~ none ~ 1.5 }}{{ [1, 'a'] == [1, 'a'] }}",
        "{{ raise_exception('No!') }}",
        "{{ 1 / 0 }}",
        "{{ foo.bar }}",
        "{{ none.strip() }}",
        "{{ messages.append(1) }}",
    ],
)
def test_the_language(source: str) -> None:
    assert_same(source, "one question")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | map(attribute='role') | tojson }}",
        "{% set n = namespace(q=[1]) %}{% set _ = n.q.append(2) %}{% set _ = n.q.append('x') %}{{ n.q }}{{ _ }}",
        "{% set n = namespace(q=[1,2,3,4]) %}{% set _ = n.q.append(5) %}{% set a = n.q.pop(0) %}{% set b = n.q.pop() %}"
        "{{ a }}{{ b }}{{ n.q }}",
        "{% set n = namespace(q=[]) %}{% for i in range(3) %}{% for j in range(2) %}{% set _ = n.q.append(i) %}{% endfor %}"
        "{% endfor %}{% for i in range(2) %}{% set x = n.q.pop(0) %}{{ x }}{% endfor %}{{ n.q }}",
    ],
)
def test_what_is_more_than_transformers_takes(source: str) -> None:
    assert_same(source, "one question", lax=True)


@pytest.mark.parametrize(
    "source",
    [
        "{% set _ = messages[0].update(a=1) %}",
        "{% set _ = messages.append(1) %}{{ messages | length }}",
        "{% set m = namespace(a=messages) %}{% set _ = m.a.append(1) %}{{ messages | length }}",
        "{% set _ = messages.pop(0) %}{{ messages | length }}",
        "{% set n = namespace(q=[[1], [2]]) %}{% set _ = n.q.pop(1) %}",
        "{% set n = namespace(q={'a': 1}) %}{% set _ = n.q.pop('a') %}",
    ],
)
def test_nothing_of_the_conversation_is_changed(source: str) -> None:
    messages = [dict(USER[0])]
    with contextlib.suppress(InvalidRequest):
        assert ChatTemplate(source).render(messages) == "1"
    assert messages == USER


def test_the_time() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", now=lambda: datetime(2024, 7, 26))
    assert template.render(USER) == "26 Jul 2024"


def test_the_generation_tag_is_transparent() -> None:
    assert ChatTemplate("a{% generation %}{{ messages[0].content }}{% endgeneration %}b").render(USER) == "ahib"


@pytest.mark.parametrize("content", ["Once upon", "Once upon ", "Once\n\n", "", " x"])
@pytest.mark.parametrize("style", ["llama3", "qwen", "gemma"])
def test_continuing_the_last_message(style: str, content: str) -> None:
    messages = [*USER, {"role": "assistant", "content": content}]
    text = ChatTemplate(STYLES[style], "<s>", "</s>").render(messages, continue_last=True)
    assert text.endswith(content.lstrip() if style != "qwen" else content)
    assert "\ue0f0" not in text
    whole = ChatTemplate(STYLES[style], "<s>", "</s>").render(messages, add_generation_prompt=False)
    assert whole.startswith(text.rstrip())


def test_continuing_what_the_template_leaves_out() -> None:
    template = ChatTemplate("{{ messages[0].content }}")
    assert template.render(USER, continue_last=True) == "hi"
    with pytest.raises(InvalidRequest, match="leaves out"):
        template.render([*USER, {"role": "assistant", "content": "x"}], continue_last=True)
    with pytest.raises(InvalidRequest, match="no last message"):
        template.render([], continue_last=True)
    with pytest.raises(InvalidRequest, match="no text"):
        template.render([{"role": "assistant", "content": None}], continue_last=True)


def test_variables_overrule_defaults_but_not_the_conversation() -> None:
    template = ChatTemplate("{{ messages[0].content }}{{ add_generation_prompt }}{{ bos_token }}{{ tools }}{{ x }}", "<s>")
    variables = {"messages": [], "bos_token": "no", "add_generation_prompt": False, "tools": [1], "x": 5}
    assert template.render(USER, variables=variables) == "hiFalse<s>[1]5"


def test_errors_are_one_sentence() -> None:
    for source, says in [
        ("{{ raise_exception('Roles must alternate') }}", "Roles must alternate"),
        ("{{ x.y }}", "'x' is undefined"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% for x in 5 %}{% endfor %}", "not iterable"),
    ]:
        with pytest.raises(InvalidRequest, match=says):
            ChatTemplate(source).render(USER)
    for source, says in [
        ("{% if %}", "line 1"),
        ("\n\n{{ 1 | nothing }}", "No filter named 'nothing'"),
        ("{% include 'x' %}", "include"),
    ]:
        with pytest.raises(InvalidRequest, match=says):
            ChatTemplate(source)
