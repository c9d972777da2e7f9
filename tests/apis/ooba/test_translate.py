"""Bodies of the 2023 API: casts, and what no cast should let through."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.casts import to_float, to_int
from publican.apis.ooba import translate
from publican.apis.ooba.schema import ChatBody, GenerateBody
from publican.core.errors import InvalidParameter, InvalidRequest
from publican.core.presets import Presets
from publican.core.request import Caller
from publican.core.sampling.wire import sampling_names
from tests.apis.openai.test_translate import ANYTHING

CALLER = Asking(Caller())


def generate(**body: Any) -> Any:
    return translate.generate({"prompt": "x", **body}, CALLER)


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("temperature", "0.7", "sampling.temperature", 0.7),
        ("temperature", " 1e0 ", "sampling.temperature", 1.0),
        ("temperature", True, "sampling.temperature", 1.0),
        ("top_k", "20", "sampling.top_k", 20),
        ("top_k", 20.9, "sampling.top_k", 20),
        ("top_k", -1, "sampling.top_k", 0),
        ("typical", 0.5, "sampling.typical_p", 0.5),
        ("epsilon_cutoff", 2, "sampling.epsilon_cutoff", 2e-4),
        ("seed", -1, "sampling.seed", None),
        ("seed", "42", "sampling.seed", 42),
        ("do_sample", "false", "sampling.do_sample", True),
        ("do_sample", 0, "sampling.do_sample", False),
        ("max_new_tokens", "9", "stopping.max_tokens", 9),
        ("max_length", 9, "stopping.max_tokens", 9),
        ("skip_special_tokens", 0, "wanted.special_tokens", True),
        ("truncation_length", 1_000, "wanted.truncate_prompt", 800),
        ("truncation_length", 100, "wanted.truncate_prompt", 1),
        ("max_context_length", "1200", "wanted.truncate_prompt", 1_000),
        ("stopping_strings", ["a", ""], "stopping.strings", ("a",)),
        ("stopping_strings", "a", "stopping.strings", ("a",)),
        ("custom_stopping_strings", ["a"], "stopping.strings", ()),
        ("custom_token_bans", "1,2", "sampling.banned_tokens", (1, 2)),
    ],
)
def test_casts(name: str, value: Any, path: str, expected: Any) -> None:
    part, field = path.split(".")
    assert getattr(getattr(generate(**{name: value}), part), field) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "-Infinity"),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("temperature", -1),
        ("temperature", []),
        ("top_k", "0.7"),
        ("top_k", float("inf")),
        ("top_k", "9" * 10_000),
        ("max_new_tokens", -1),
        ("max_new_tokens", "many"),
        ("max_new_tokens", 10**12),
        ("truncation_length", 0),
        ("seed", 10**30),
        ("seed", -5),
        ("stopping_strings", [1]),
        ("stopping_strings", 1),
        ("custom_token_bans", "x"),
        ("prompt", 5),
        ("prompt", ["x"]),
    ],
)
def test_what_no_engine_can_use_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        generate(**{name: value})
    assert caught.value.name.split("[")[0] == name


def test_searches_and_grammars_arrive() -> None:
    assert generate(num_beams="4").sampling.num_beams == 4
    assert generate(grammar_string="root ::= x").sampling.grammar == "root ::= x"


def test_a_preset_wins_over_what_its_client_sends_along() -> None:
    name = Presets().names()[0]
    expected = Presets().get(name)
    sampling = generate(preset=name, temperature=1.99, top_k=77).sampling
    assert {key: getattr(sampling, key) for key in expected} == expected
    with pytest.raises(InvalidParameter, match="preset"):
        generate(preset="no such thing")


@given(st.integers() | st.floats() | st.text(max_size=60) | st.booleans() | st.none() | st.lists(st.integers()))
def test_casts_give_finite_numbers_or_refuse(value: Any) -> None:
    for cast in (to_int, to_float):
        with suppress(ValueError):
            assert abs(cast(value)) < float("inf")


FIELDS = {*GenerateBody.model_fields, *ChatBody.model_fields, *sampling_names("ooba"), "_continue", "max_length"}


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), ANYTHING, max_size=4), st.booleans())
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any], talks: bool) -> None:
    with suppress(InvalidRequest):
        if talks:
            translate.chat({"user_input": "x", **body}, CALLER)
        else:
            translate.generate({"prompt": "x", **body}, CALLER)
