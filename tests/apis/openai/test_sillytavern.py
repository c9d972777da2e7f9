"""What SillyTavern 1.19.0 really sends to /v1/completions: its whole parameter object, to every kind of server."""

from __future__ import annotations

from typing import Any

import pytest

from publican.apis.asking import Asking
from publican.apis.openai import translate
from publican.core.request import Caller
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask
from tests.apis.sse_parser import parse_sse
from tests.clients.sillytavern import DEFAULTS

COMMON: dict[str, Any] = DEFAULTS | {
    "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "max_new_tokens": 350,
    "max_tokens": 350,
    "logprobs": 10,
    "temperature": 0.7,
    "stopping_strings": ["\nAnn:", "\nBot:"],
    "stop": ["\nAnn:", "\nBot:"],
    "truncation_length": 8192,
    "api_type": "ooba",
    "api_server": "http://127.0.0.1:5000/",
    "n_predict": 350,
    "num_predict": 350,
    "num_ctx": 8192,
    "n_probs": 10,
    "stream": True,
}
OOBA: dict[str, Any] = {
    "min_length": 0,
    "num_beams": 1,
    "length_penalty": 1,
    "early_stopping": False,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "encoder_repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "penalty_alpha": 0,
    "temperature_last": True,
    "do_sample": True,
    "sampler_priority": [
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "temperature", "dynamic_temperature"),
        *("quadratic_sampling", "top_n_sigma", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a"),
        *("min_p", "adaptive_p", "mirostat", "xtc", "encoder_repetition_penalty", "no_repeat_ngram"),
    ],
}
BODIES: dict[str, dict[str, Any]] = {
    "ooba": COMMON | OOBA,
    "tabby": COMMON | {"n": 1, "temperature_last": True, "repetition_decay": 0, "speculative_ngram": False, "model": "tiny"},
    "koboldcpp": COMMON
    | {"sampler_order": [6, 0, 1, 3, 4, 2, 5], "trim_stop": True, "dry_sequence_breakers": ["\n", ":"], "grammar": ""},
    "aphrodite": COMMON
    | {
        "n": 2,
        "custom_token_bans": [],
        "spaces_between_special_tokens": True,
        "include_stop_str_in_output": False,
        "top_k": -1,
    },
    "huggingface": COMMON | {"model": "tgi", "stop": ["a", "b", "c", "d"], "seed": 5},
    "vllm": {name: COMMON[name] for name in ("prompt", "max_tokens", "temperature", "stream", "stop", "min_p")}
    | {"model": "tiny", "n": 1, "logprobs": 5, "top_k": -1, "ignore_eos": False, "logit_bias": {"7": -50}},
    "generic": {name: COMMON[name] for name in ("prompt", "max_tokens", "temperature", "top_p", "stream", "stop", "logprobs")},
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("names_itself", [True, False])
def test_its_whole_object_is_understood(kind: str, names_itself: bool) -> None:
    body = BODIES[kind] | ({"api_type": kind} if names_itself else {})
    (request,) = translate.completion(body, Asking(Caller())).requests
    assert request.stopping.max_tokens == 350
    assert request.stopping.strings
    assert request.sampling.temperature == 0.7


@pytest.mark.parametrize("kind", BODIES)
def test_its_parser_can_read_every_event(kind: str) -> None:
    """It reads text, index, and the first token's likeliest; a top-level message, detail or error would abort it."""
    answer = ask(app_of(ScriptedHost()), "POST", "/v1/completions", BODIES[kind])
    assert answer.status_code == 200, answer.text
    values = parse_sse(answer.content).values
    texts = [value["choices"][0]["text"] for value in values if value["choices"][0]["index"] == 0]
    assert texts == ["Hello", " world", "!", ""]
    for value in values:
        assert not {"message", "detail", "error"} & set(value)
        logprobs = value["choices"][0]["logprobs"]
        assert logprobs is None or value["choices"][0]["text"] in logprobs["top_logprobs"][0]
