"""OpenAI bodies: what is refused, and with which words; what is ignored."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.openai import translate
from publican.apis.openai.schema import ChatBody, CompletionBody
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.ids import TokenId
from publican.core.presets import Presets
from publican.core.request import Caller, ChatPrompt, TextPrompt, TokenPrompt
from publican.core.sampling.wire import sampling_names

CALLER = Asking(Caller())
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


def completion(**body: Any) -> translate.Asked:
    return translate.completion({"prompt": "x", **body}, CALLER)


def chat(**body: Any) -> translate.Asked:
    return translate.chat({**CHAT, **body}, CALLER)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("max_tokens", 2**31),
        ("max_tokens", [1]),
        ("temperature", -1),
        ("temperature", "warm"),
        ("temperature", True),
        ("temperature", {}),
        ("top_p", 1.1),
        ("top_p", -0.1),
        ("presence_penalty", "x"),
        ("n", 0),
        ("n", 65),
        ("n", 2**63),
        ("seed", 2**64),
        ("seed", -(2**64)),
        ("seed", 1.5),
        ("logprobs", -1),
        ("logprobs", 21),
        ("logprobs", "2"),
        ("stream", "yes"),
        ("stream", 1),
        ("stop", 5),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("stop", ["x"] * 257),
        ("stop", ["x" * 1_001]),
        ("echo", 1),
        ("logit_bias", {"x": 1, "1": "y"}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", [1]),
        ("stop_token_ids", ["x"]),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", 5),
        ("truncate_prompt_tokens", 0),
        ("truncate_prompt_tokens", -2),
        ("model", 5),
        ("stream_options", []),
        ("stream_options", {"include_usage": "yes"}),
        ("prompt_logprobs", -1),
        ("prompt", 5),
        ("prompt", []),
        ("prompt", {}),
        ("prompt", [1, "x"]),
        ("prompt", ["x", 1]),
        ("prompt", [[]]),
        ("prompt", [[-1]]),
        ("prompt", [2**31]),
        ("prompt", [True]),
        ("prompt", [1.5]),
        ("prompt", ["x"] * 129),
    ],
)
def test_wrong_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        completion(**{name: value})
    assert caught.value.name.split(".")[0].split("[")[0] == name
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, r"messages\[0\]"),
        ({"messages": [{}]}, r"messages\[0\]\.role"),
        ({"messages": [{"role": ""}]}, r"messages\[0\]\.role"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\]\.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"messages\[0\]\.content\[0\]"),
        ({"messages": [{"role": "user", "content": [5]}]}, r"messages\[0\]\.content\[0\]"),
        ({**CHAT, "logprobs": 3}, "logprobs"),
        ({**CHAT, "top_logprobs": 3}, "top_logprobs"),
        ({**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({**CHAT, "stream_options": {"include_usage": True}}, "stream_options"),
        ({**CHAT, "stream": True, "prompt_logprobs": 1}, "prompt_logprobs"),
        ({}, "messages"),
    ],
)
def test_wrong_chats_are_named(body: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        translate.chat(body, CALLER)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("prompt_embeds", "aGk="),
        ("audio", {"voice": "alloy"}),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {}),
        ("response_format", {"type": "xml"}),
        ("structured_outputs", {"structural_tag": "{}"}),
    ],
)
def test_what_would_be_wrong_if_ignored_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Unsupported, match=name):
        completion(**{name: value})


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "json_schema", '{"type":"object"}'),
        ({"response_format": {"type": "json_object", "schema": {"type": "array"}}}, "json_schema", '{"type":"array"}'),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
            "json_schema",
            '{"type":"null"}',
        ),
        ({"response_format": {"type": "regex", "value": "a+"}}, "regex", "a+"),
        ({"guided_json": {"type": "object"}}, "json_schema", '{"type":"object"}'),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"guided_choice": ["a", "b"]}, "choice", ("a", "b")),
        ({"guided_grammar": "root ::= x"}, "grammar", "root ::= x"),
        ({"grammar_string": "root ::= x"}, "grammar", "root ::= x"),
        ({"grammar": '{"type": "object"}'}, "json_schema", '{"type":"object"}'),
        ({"structured_outputs": {"regex": "a"}}, "regex", "a"),
        ({"structured_outputs": {"choice": ["x"]}}, "choice", ("x",)),
        ({"structured_outputs": {"json": {"type": "object"}}}, "json_schema", '{"type":"object"}'),
        ({"structured_outputs": {"json_object": True}}, "json_schema", '{"type":"object"}'),
        ({"best_of": 3}, "best_of", 3),
        ({"best_of": 2, "n": 2}, "best_of", 1),
        ({"num_beams": 2}, "num_beams", 2),
        ({"use_beam_search": True, "best_of": 4}, "num_beams", 4),
        ({"use_beam_search": True}, "do_sample", False),
        ({"banned_strings": ["x"]}, "banned_strings", ("x",)),
        ({"guidance_scale": 1.5}, "guidance_scale", 1.5),
        ({"seed": -5}, "seed", 2**64 - 5),
    ],
)
def test_what_an_answer_must_follow_arrives(body: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(completion(**body).requests[0].sampling, name) == value


@pytest.mark.parametrize("value", ["json", {"type": "json_schema"}, {"type": "regex"}])
def test_a_wrong_form_is_named(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="response_format"):
        completion(response_format=value)


def test_a_preset_lies_below_what_the_request_says_itself() -> None:
    names = Presets().names()
    assert names
    for name in names:
        expected = {**Presets().get(name), "temperature": 0.123}
        sampling = completion(preset=name, temperature=0.123).requests[0].sampling
        assert {key: getattr(sampling, key) for key in expected} == expected


def test_a_preset_that_is_not_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidParameter, match=re.escape(Presets().names()[0])) as caught:
        chat(preset="no such thing")
    assert caught.value.name == "preset"


def test_a_suffix_is_kept_for_the_model_that_can_use_it() -> None:
    assert completion(suffix="end").suffix == "end"
    with pytest.raises(InvalidParameter, match="suffix"):
        completion(prompt=[1, 2], suffix="end")


@pytest.mark.parametrize(
    "body",
    [
        {"tools": []},
        {"tools": None, "functions": None},
        {"response_format": {"type": "text"}},
        {"preset": "None"},
        {"suffix": ""},
        {"num_beams": 1, "penalty_alpha": 0, "grammar_string": "", "banned_strings": [], "guidance_scale": 1},
        {"api_type": "ooba", "api_server": "http://x", "sampler_priority": ["temperature", "top_k"], "min_keep": 0},
        {"dry_sequence_breakers": '["\\n",":"]', "adaptive_target": -0.01, "skew": 0, "max_tokens_second": 0},
        {"metadata": {"a": "b"}, "store": True, "service_tier": "auto", "whatever": [[[]]]},
        {"user": "ann", "priority": 0, "request_id": "x"},
    ],
)
def test_what_asks_for_nothing_is_ignored(body: dict[str, Any]) -> None:
    completion(**body)


def test_images_are_refused_clearly() -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(Unsupported, match=r"messages\[0\]\.content\[1\]: images"):
        translate.chat({"messages": [{"role": "user", "content": parts}]}, CALLER)


def test_all_forms_of_prompts() -> None:
    def prompts(value: Any) -> list[Any]:
        return [request.prompt for request in completion(prompt=value).requests]

    assert prompts("a") == [TextPrompt("a")]
    assert prompts("") == [TextPrompt("")]
    assert prompts(["a", "b"]) == [TextPrompt("a"), TextPrompt("b")]
    assert prompts([1, 2]) == [TokenPrompt((TokenId(1), TokenId(2)))]
    assert prompts([[1], [2, 3]]) == [TokenPrompt((TokenId(1),)), TokenPrompt((TokenId(2), TokenId(3)))]
    assert prompts(["a", [1]]) == [TextPrompt("a"), TokenPrompt((TokenId(1),))]
    assert len({request.id for request in completion(prompt=["a", "b"]).requests}) == 2


def test_limits_under_all_names_the_first_winning() -> None:
    assert completion().requests[0].stopping.max_tokens == 16
    assert completion(max_tokens=None, n_predict=5).requests[0].stopping.max_tokens == 5
    assert completion(max_tokens=7.0, max_new_tokens=5).requests[0].stopping.max_tokens == 7
    assert chat().requests[0].stopping.max_tokens is None
    assert chat(max_tokens=5, max_completion_tokens=6).requests[0].stopping.max_tokens == 6


def test_seeds() -> None:
    def seed(value: Any) -> int | None:
        return completion(seed=value).requests[0].sampling.seed

    assert seed(7) == 7
    assert seed(-1) is None
    assert seed(None) is None
    assert seed(-2) == 2**64 - 2
    assert seed(2**64 - 1) == 2**64 - 1


def test_top_k_of_minus_one_is_off() -> None:
    assert completion(top_k=-1).requests[0].sampling.top_k == 0


def test_stop_under_both_names() -> None:
    assert completion(stop="x").requests[0].stopping.strings == ("x",)
    assert completion(stopping_strings=["x", "", "y"]).requests[0].stopping.strings == ("x", "y")
    assert completion(stop=[]).requests[0].stopping.strings == ()


def test_templates_by_name_or_text_and_their_variables() -> None:
    def prompt(**body: Any) -> ChatPrompt:
        made = chat(**body).requests[0].prompt
        assert isinstance(made, ChatPrompt)
        return made

    assert prompt().template is None
    assert prompt(chat_template="chatml").template == "chatml"
    assert prompt(instruction_template="alpaca").template == "alpaca"
    assert prompt(instruction_template_str="{{ messages }}").template == "{{ messages }}"
    assert prompt(chat_template_kwargs={"a": 1}, enable_thinking=False).variables == {"a": 1, "enable_thinking": False}
    assert prompt(reasoning_effort="low").variables == {"reasoning_effort": "low"}
    assert prompt(reasoning_effort="none").variables == {"enable_thinking": False}
    assert prompt(add_generation_prompt=False).variables == {"add_generation_prompt": False}
    assert prompt(continue_final_message=True, add_generation_prompt=False).continue_last


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = {*CompletionBody.model_fields, *ChatBody.model_fields, *sampling_names("openai"), "tools", "response_format", "suffix"}


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), ANYTHING, max_size=4), st.booleans())
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any], talks: bool) -> None:
    with suppress(InvalidRequest):
        if talks:
            translate.chat({**CHAT, **body}, CALLER)
        else:
            translate.completion({"prompt": "x", **body}, CALLER)
