"""OpenAI bodies: what is refused, and with which words; what is ignored."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.openai import translate
from publican.apis.openai.schema import ChatBody, CompletionBody
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.ids import TokenId
from publican.core.request import Caller, ChatPrompt, TextPrompt, TokenPrompt
from publican.core.sampling.wire import sampling_names

CALLER = Caller()
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
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("functions", [{"name": "f"}]),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ("response_format", "json"),
        ("suffix", "end"),
        ("best_of", 3),
        ("use_beam_search", True),
        ("num_beams", 2),
        ("guided_json", {"type": "object"}),
        ("guided_regex", "a+"),
        ("guided_choice", ["a", "b"]),
        ("structured_outputs", {"regex": "a"}),
        ("grammar_string", "root ::= x"),
        ("banned_strings", ["x"]),
        ("guidance_scale", 1.5),
    ],
)
def test_what_would_be_wrong_if_ignored_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Unsupported, match=name):
        completion(**{name: value})


@pytest.mark.parametrize(
    "body",
    [
        {"tools": []},
        {"tools": None, "functions": None},
        {"response_format": {"type": "text"}},
        {"suffix": ""},
        {"best_of": 2, "n": 2},
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


def test_templates_by_name_only() -> None:
    prompt = chat(chat_template="chatml").requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template == "chatml"
    with pytest.raises(Unsupported, match="chat_template"):
        chat(chat_template="{% for i in range(10**9) %}{% endfor %}")
    with pytest.raises(Unsupported, match="add_generation_prompt"):
        chat(add_generation_prompt=False)


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
