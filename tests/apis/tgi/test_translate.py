"""TGI's bodies: what they mean, what is refused and with which words; where tokens stand."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.tgi import translate
from publican.apis.tgi.answers import spans
from publican.apis.tgi.schema import Parameters
from publican.core.errors import InvalidRequest, Overloaded, PromptTooLong, WorkerDied
from publican.core.ids import TokenId
from publican.core.request import Caller
from publican.core.sampling.wire import sampling_names
from tests.apis.fake_host import ScriptedHost, failing
from tests.apis.openai.test_translate import ANYTHING
from tests.apis.running import app_of, ask

CALLER = Asking(Caller())


def generate(stream: bool | None = None, **parameters: Any) -> translate.Asked:
    return translate.generate({"inputs": "x", "parameters": parameters}, CALLER, stream)


@pytest.mark.parametrize(
    ("parameters", "sampled"),
    [
        ({}, False),
        ({"temperature": 1.0}, False),
        ({"temperature": 0.7}, True),
        ({"top_k": 5}, True),
        ({"top_p": 0.9}, True),
        ({"typical_p": 0.9}, True),
        ({"do_sample": True}, True),
        ({"seed": 5, "repetition_penalty": 1.2}, False),
    ],
)
def test_when_it_samples(parameters: dict[str, Any], sampled: bool) -> None:
    assert generate(**parameters).request.sampling.is_greedy is not sampled


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"temperature": -1.0}, "`temperature` must be strictly positive"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be strictly positive"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"top_p": 0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"typical_p": 1}, "`typical_p` must be > 0.0 and < 1.0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"truncate": 0}, "`truncate` must be strictly positive"),
        ({"stop": [f"{i}" for i in range(300)]}, "`stop` supports up to 256 stop sequences. Given: 300"),
        ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
        ({"best_of": 0}, "`best_of` must be > 0 and <= 8. Given: 0"),
        ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
        ({"best_of": 2, "top_k": 5, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
        ({"watermark": True}, "`watermark` is not supported by this server; leave it out"),
        ({"adapter_id": "x"}, "`adapter_id` is not supported by this server; leave it out"),
        ({"grammar": {"type": "xml", "value": "x"}}, "`grammar` must have a value and be of type json, json_schema, regex"),
        ({"grammar": {"type": [], "value": "x"}}, "`grammar` must have a value and be of type json, json_schema, regex"),
        ({"temperature": "hot"}, "`temperature` must be a number"),
    ],
)
def test_what_is_wrong_is_said_in_tgi_s_words(parameters: dict[str, Any], error: str) -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/generate", {"inputs": "x", "parameters": parameters})
    assert answer.status_code == 422
    assert answer.json()["error_type"] == "validation"
    assert answer.json()["error"].startswith(f"Input validation error: {error}")


def test_what_a_stream_cannot_have() -> None:
    for parameters in ({"best_of": 2, "top_k": 5}, {"decoder_input_details": True}):
        with pytest.raises(InvalidRequest, match="not supported when streaming tokens"):
            generate(stream=True, **parameters)
        generate(stream=False, **parameters)
    empty = ask(app_of(ScriptedHost()), "POST", "/generate_stream", {"inputs": ""})
    assert empty.json()["error"] == "Input validation error: `inputs` cannot be empty"


@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        ("/generate", {}, ""),
        ("/", {}, "x"),
        ("/", {"return_full_text": False}, ""),
        ("/generate", {"return_full_text": True}, "x"),
    ],
)
def test_whether_the_prompt_stands_before_the_answer(path: str, parameters: dict[str, Any], expected: str) -> None:
    answer = ask(app_of(ScriptedHost()), "POST", path, {"inputs": "x", "parameters": parameters}).json()
    said = answer[0] if path == "/" else answer
    assert said == {"generated_text": expected + "Hello world!"}


def test_too_many_and_broken() -> None:
    app = app_of(ScriptedHost(refusal=Overloaded("Full; try again in 9 s.", 9)))
    full = ask(app, "POST", "/generate", {"inputs": "x"})
    assert (full.status_code, full.json()["error_type"], full.headers["retry-after"]) == (429, "overloaded", "9")
    long = ask(app_of(ScriptedHost(refusal=PromptTooLong(3_000, 2_048))), "POST", "/generate", {"inputs": "x"})
    assert long.json()["error"] == "Input validation error: `inputs` must have less than 2048 tokens. Given: 3000"
    dead = ask(app_of(ScriptedHost(failing(WorkerDied("It died.")))), "POST", "/generate", {"inputs": "x"})
    assert (dead.status_code, dead.json()["error_type"]) == (503, "unhealthy")


# --- where tokens stand


def test_tokens_of_half_characters_and_of_none() -> None:
    pieces = [b"<s>", b" Hi", b" \xf0\x9f", b"\x98\x80", b"!"]
    found = spans("Hi 😀!", [TokenId(i) for i in range(5)], pieces)
    assert [(one["start"], one["stop"]) for one in found] == [(0, 0), (0, 2), (2, 4), (4, 4), (4, 5)]
    assert found[0]["text"] == "<s>"


@given(st.text(max_size=30), st.integers(1, 5))
def test_spans_of_whole_pieces_cover_the_text(text: str, size: int) -> None:
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = spans(text, [TokenId(0)] * len(pieces), pieces)
    assert "".join(text[one["start"] : one["stop"]] for one in found) == text


FIELDS = sorted({*Parameters.model_fields, *sampling_names("tgi")})


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), st.booleans())
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(parameters: dict[str, Any], stream: bool) -> None:
    with suppress(InvalidRequest):
        generate(stream, **parameters)
