"""llama.cpp's bodies: forms of prompts, limits, what is refused; and fields picked out of an answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.llamacpp import translate
from publican.apis.llamacpp.answers import picked
from publican.apis.llamacpp.schema import CompletionBody, InfillBody
from publican.apis.llamacpp.settings import sampling_settings
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.request import Caller, TextPrompt, TokenPrompt
from publican.core.sampling import DECLARED
from publican.core.sampling.wire import sampling_names, sampling_params

ASKING = Asking(Caller())


def completion(prompt: Any = "x", **body: Any) -> translate.Asked:
    return translate.completion({"prompt": prompt, **body}, ASKING)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a", [("a",)]),
        ("", [("",)]),
        ({"prompt_string": "a"}, [("a",)]),
        ([1, 2], [((1, 2),)]),
        ([1, "a", "b", 2, 3], [((1,), "a", "b", (2, 3))]),
        (["a", "b"], [("a",), ("b",)]),
        (["a", [1, 2], ["b", 3], {"prompt_string": "c"}], [("a",), ((1, 2),), ("b", (3,)), ("c",)]),
    ],
)
def test_all_forms_of_prompts(prompt: Any, parts: list[Any]) -> None:
    asked = completion(prompt)
    expected = [part if len(part) > 1 else None for part in parts]
    assert list(asked.parts) == expected
    for request, part in zip(asked.requests, parts, strict=True):
        if len(part) == 1:
            assert request.prompt == (TextPrompt(part[0]) if isinstance(part[0], str) else TokenPrompt(part[0]))


@pytest.mark.parametrize("prompt", [5, True, None, [], [[]], [None], {"x": 1}, [1, -1], [1, True], ["x"] * 129])
def test_what_is_no_prompt(prompt: Any) -> None:
    with pytest.raises(InvalidParameter, match="prompt"):
        completion(prompt)


def test_limits() -> None:
    def max_tokens(**body: Any) -> Any:
        return completion(**body).requests[0].stopping.max_tokens

    assert max_tokens() is None
    assert max_tokens(n_predict=-1) is None
    assert max_tokens(n_predict=0) == 0
    assert max_tokens(max_tokens=7) == 7
    assert completion(n_probs=0).requests[0].wanted.logprobs is None
    assert completion(logprobs=3).requests[0].wanted.logprobs == 3
    assert completion(n_cmpl=2).shape.as_list
    assert not completion().shape.as_list


@pytest.mark.parametrize(
    "body", [{"lora": [{"id": 0}]}, {"t_max_predict_ms": 5}, {"prompt": {"prompt_string": "x", "multimodal_data": ["x"]}}]
)
def test_what_would_be_wrong_if_ignored_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        translate.completion({"prompt": "x", **body}, ASKING)
    completion(lora=[], t_max_predict_ms=0, id_slot=-1, n_keep=0, cache_prompt=True, speculative={})


@pytest.mark.parametrize("extra", [["x"], [{"text": 5}], [{"filename": 5, "text": "x"}], [{}]])
def test_other_files_are_texts(extra: Any) -> None:
    with pytest.raises(InvalidParameter, match="input_extra"):
        translate.infill({"input_extra": extra}, ASKING)


def test_settings_name_every_sampling_parameter_once() -> None:
    settings = sampling_settings(sampling_params("llamacpp", {}))
    assert len(settings) == len(DECLARED)
    assert settings["repeat_last_n"] == 64
    assert settings["dynatemp_range"] == 0.0


def test_fields_are_picked_and_moved_to_the_top() -> None:
    answer = {"a": 1, "b": {"c": {"d": 2}}, "e": 3}
    assert picked(answer, ()) == answer
    assert picked(answer, ("a", "b/c/d", "b/x", "x", "a/b")) == {"a": 1, "d": 2}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({*CompletionBody.model_fields, *InfillBody.model_fields, *sampling_names("llamacpp")})


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), st.booleans())
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any], fills: bool) -> None:
    with suppress(InvalidRequest):
        if fills:
            translate.infill(body, ASKING)
        else:
            translate.completion({"prompt": "x", **body}, ASKING)
