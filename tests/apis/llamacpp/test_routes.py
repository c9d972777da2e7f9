"""What llama.cpp's server says of itself, and paths that it shares with others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from publican.apis.asking import Asking
from publican.apis.feed import Item
from publican.apis.llamacpp.answers import Answer
from publican.apis.llamacpp.translate import completion
from publican.core.backend import Status
from publican.core.errors import PromptTooLong
from publican.core.events import Delta, TokenOutput
from publican.core.ids import TokenId
from publican.core.request import Caller
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ({"content": "Hi"}, {"tokens": [72, 105]}),
        ({"prompt": "Hi"}, {"count": 3, "max_model_len": 2_048, "tokens": [94, 72, 105], "token_strs": None}),
        ({"messages": [{"role": "user", "content": "Hi"}]}, None),
    ],
)
def test_the_body_says_whose_tokens_are_wanted(body: dict[str, Any], reads: Any) -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/tokenize", body)
    assert answer.status_code == 200
    assert reads is None or answer.json() == reads


def test_the_length_that_does_not_fit_is_told() -> None:
    host = ScriptedHost(refusal=PromptTooLong(9_000, 2_048))
    error = ask(app_of(host), "POST", "/completion", {"prompt": "x"}).json()["error"]
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", 9_000, 2_048)


def test_no_free_slot_is_said_with_a_status_if_asked() -> None:
    busy = ScriptedHost(current=Status(True, "ok", num_running=2, num_slots=2))
    assert ask(app_of(busy), "GET", "/slots").status_code == 200
    assert ask(app_of(busy), "GET", "/slots?fail_on_no_slot=1").status_code == 503
    assert ask(app_of(ScriptedHost()), "GET", "/slots?fail_on_no_slot=1").status_code == 200


def test_props_without_a_model_is_an_error_and_no_template() -> None:
    assert ask(app_of(ScriptedHost(cards=())), "GET", "/props").status_code == 404
    props = ask(app_of(ScriptedHost()), "GET", "/props").json()
    assert isinstance(props["chat_template"], str)
    assert props["default_generation_settings"]["n_ctx"] == 2_048


def test_a_token_costs_the_same_however_long_the_answer_is() -> None:
    asked = completion({"prompt": "x", "stream": True}, Asking(Caller()))
    answer = Answer(asked.requests, asked.shape, "tiny")
    began_s = time.process_time()
    for _ in range(10_000):
        last = answer.render([Item(0, Delta(0, "a", (TokenOutput(TokenId(1)),)))])
    assert time.process_time() - began_s < 6
    assert b'"tokens_predicted":10000' in last
