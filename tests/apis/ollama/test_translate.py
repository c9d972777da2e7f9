"""Ollama's bodies: what they mean, what is refused and with which words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.ollama import translate
from publican.apis.ollama.schema import ChatBody, GenerateBody
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.request import Caller, ChatPrompt, Request, TextPrompt
from publican.core.sampling.wire import sampling_names
from tests.apis.openai.test_translate import ANYTHING

CALLER = Asking(Caller())
USER = [{"role": "user", "content": "Hi"}]


def generate(**body: Any) -> translate.Asked:
    return translate.generate({"model": "m", "prompt": "x", **body}, CALLER)


def chat(**body: Any) -> translate.Asked:
    return translate.chat({"model": "m", "messages": USER, **body}, CALLER)


def asked(**body: Any) -> Request:
    request = chat(**body).request
    assert request is not None
    return request


def test_a_silent_request_has_ollama_s_defaults() -> None:
    sampling = asked().sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.repetition_penalty_range) == (0.8, 40, 0.9, 64)
    assert chat().stream
    assert asked().stopping.max_tokens is None


@pytest.mark.parametrize(
    ("options", "path", "expected"),
    [
        ({"num_predict": 7}, "stopping.max_tokens", 7),
        ({"num_predict": -2}, "stopping.max_tokens", None),
        ({"num_predict": 0}, "stopping.max_tokens", 0),
        ({"num_predict": 24, "num_ctx": 100}, "wanted.truncate_prompt", 76),
        ({"num_predict": 200, "num_ctx": 100}, "wanted.truncate_prompt", 1),
        ({"stop": "a"}, "stopping.strings", ("a",)),
        ({"stop": ["a", ""]}, "stopping.strings", ("a",)),
        ({"seed": -1}, "sampling.seed", None),
        ({"repeat_penalty": 1.3}, "sampling.repetition_penalty", 1.3),
        ({"repeat_penalty": 1.3, "repeat_last_n": 0}, "sampling.repetition_penalty", 1.0),
        ({"top_k": -5}, "sampling.top_k", 0),
        ({"tfs_z": 0.5, "mirostat": 2}, "sampling.tfs", 0.5),
    ],
)
def test_options(options: dict[str, Any], path: str, expected: Any) -> None:
    part, field = path.split(".")
    assert getattr(getattr(asked(options=options), part), field) == expected


def test_what_is_not_raw_is_a_turn_of_a_chat() -> None:
    assert isinstance(generate().request.prompt, ChatPrompt)  # type: ignore[union-attr]
    assert generate(raw=True).request.prompt == TextPrompt("x")  # type: ignore[union-attr]
    assert generate(prompt="", keep_alive="0s").unload
    assert generate(prompt="").request is None
    assert chat(messages=[]).request is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, {}),
        (False, {"enable_thinking": False}),
        (True, {"enable_thinking": True}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
    ],
)
def test_thinking(sent: Any, expected: dict[str, Any]) -> None:
    prompt = asked(think=sent).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.variables == expected


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"options": []}, "options"),
        ({"options": {"num_predict": "x"}}, "options.num_predict"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"format": "xml"}, "format"),
        ({"think": "hard"}, "think"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        chat(**body)
    assert caught.value.name == name


def test_what_would_be_wrong_in_silence_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"messages\[1\].images: images are not supported"):
        chat(messages=[*USER, {"role": "user", "content": "x", "images": ["aGk="]}])
    chat(messages=[{"role": "user", "content": "x", "images": []}])
    for body in ({"images": ["aGk="]}, {"template": "{{ .Prompt }}"}):
        with pytest.raises(Unsupported):
            generate(**body)
    with pytest.raises(InvalidParameter, match="raw"):
        generate(raw=True, system="Be.")


FIELDS = {*GenerateBody.model_fields, *ChatBody.model_fields, "images", "name"}
OPTIONS = sorted({*sampling_names("ollama"), "num_predict", "num_ctx", "stop"})


@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), ANYTHING, max_size=3),
    st.dictionaries(st.sampled_from(OPTIONS), ANYTHING, max_size=3),
    st.booleans(),
)
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(
    body: dict[str, Any], options: dict[str, Any], talks: bool
) -> None:
    with suppress(InvalidRequest):
        (chat if talks else generate)(**{"options": options, **body})
