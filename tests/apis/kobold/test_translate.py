"""Kobold's bodies: whose a body is, what it means, what is refused and with which words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.kobold import info, translate
from publican.apis.kobold.schema import GenerateBody
from publican.apis.kobold.whose import is_kobold
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.ids import TokenId
from publican.core.request import Caller
from publican.core.sampling.wire import sampling_names
from tests.apis.fake_host import ScriptedHost
from tests.apis.openai.test_translate import ANYTHING
from tests.apis.running import app_of, ask

CALLER = Asking(Caller())


def generate(context_len: int = 1_000, **body: Any) -> translate.Asked:
    return translate.generate({"prompt": "x", **body}, CALLER, context_len)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, False),
        ({"max_new_tokens": 5}, False),
        ({"max_new_tokens": 5, "max_length": 5, "truncation_length": 2048}, False),
        ({"max_length": 5}, True),
        ({"max_length": None}, False),
        ({"max_context_length": 1024, "max_length": 5, "rep_pen": 1.1, "typical_p": 1}, True),
        ({"temperature": 1, "sampler_seed": 4}, True),
        ({"do_sample": True, "repetition_penalty": 1.1, "rep_pen_range": 5}, False),
    ],
)
def test_whose_a_body_is(body: dict[str, Any], expected: bool) -> None:
    assert is_kobold({"prompt": "x", **body}) is expected
    host = ScriptedHost()
    assert ask(app_of(host), "POST", "/api/v1/generate", {"prompt": "x", **body}).status_code == 200
    assert host.requests[0].dialect == ("kobold" if expected else "ooba")


@pytest.mark.parametrize(
    ("body", "max_tokens", "room"),
    [
        ({}, 512, 488),
        ({"max_length": 80}, 80, 920),
        ({"max_length": 5_000}, 800, 200),
        ({"max_length": "80", "max_context_length": "300"}, 80, 220),
        ({"max_length": 80.0, "max_context_length": 300}, 80, 220),
        ({"max_length": 80, "max_context_length": 99_999}, 80, 920),
        ({"max_length": 900, "max_context_length": 100}, 80, 20),
        ({"max_length": 9, "max_context_length": 1}, 1, 1),
    ],
)
def test_an_answer_leaves_a_fifth_of_the_context_to_the_prompt(body: dict[str, Any], max_tokens: int, room: int) -> None:
    asked = generate(**body)
    assert (asked.request.stopping.max_tokens, asked.request.wanted.truncate_prompt) == (max_tokens, room)


def test_memory_stays() -> None:
    ids = [TokenId(i) for i in range(10)]
    assert translate.with_memory(ids[:3], ids[3:], 5).tokens == (0, 1, 2, 8, 9)
    assert translate.with_memory(ids[:3], ids[3:], 3).tokens == (0, 1, 2)
    assert translate.with_memory(ids[:3], ids[3:], 2).tokens == (1, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_length", 0),
        ("max_length", "many"),
        ("max_context_length", -5),
        ("n", 6),
        ("prompt", 5),
        ("stop_sequence", [1]),
        ("genkey", 5),
        ("temperature", -1),
        ("rep_pen", "x"),
        ("sampler_order", [9]),
        ("custom_token_bans", "a"),
    ],
)
def test_what_no_engine_can_use_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        generate(**{name: value})
    assert caught.value.name.split("[")[0] == name
    answer = ask(app_of(ScriptedHost()), "POST", "/api/latest/generate", {"prompt": "x", name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][caught.value.name]


@pytest.mark.parametrize("name", ["images", "audio", "tools"])
def test_what_would_be_wrong_in_silence_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        generate(**{name: ["x"]})
    generate(**{name: []})


def test_a_stream_has_one_answer() -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/api/extra/generate/stream", {"prompt": "x", "n": 2})
    assert answer.json()["detail"]["msg"] == "n: must be 1 in a stream."


def test_every_setting_can_be_asked_for() -> None:
    app = app_of(ScriptedHost())
    for name, value in info.settings(2_048).items():
        assert ask(app, "GET", f"/api/v1/config/{name}").json() == {"value": value}
    assert ask(app, "GET", "/api/v1/config/soft_prompts_list").json() == {"values": []}
    assert ask(app, "GET", "/api/v1/config/nothing").status_code == 404
    assert info.settings(5)["rep_pen_range"] == 320
    assert info.settings(5)["typical"] == 1.0


def test_a_model_is_loaded_by_name() -> None:
    host = ScriptedHost()
    assert ask(app_of(host), "PUT", "/api/v1/model", {"model": "other"}).json() == {}
    assert host.loaded == [("other", {})]
    missing = ask(app_of(host), "PUT", "/api/latest/model", {"model": "missing"})
    assert (missing.status_code, missing.json()["detail"]["type"]) == (404, "not_found")
    host.cards = ()
    assert ask(app_of(host), "GET", "/api/latest/model").json() == {"result": "ReadOnly"}


FIELDS = {*GenerateBody.model_fields, *sampling_names("kobold"), "stop", "images"}


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), ANYTHING, max_size=4))
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        translate.generate({"prompt": "x", **body}, CALLER, 1_000)


def test_numbers_as_texts_are_read_as_koboldcpp_reads_them() -> None:
    asked = generate(temperature="0.7", top_k="40", rep_pen="1.1", n="2").request
    assert (asked.sampling.temperature, asked.sampling.top_k, asked.sampling.repetition_penalty) == (0.7, 40, 1.1)
    assert asked.wanted.num_choices == 2
    with pytest.raises(InvalidParameter, match="temperature"):
        generate(temperature="warm")
