"""Every declared sampling parameter, under every name that each dialect has for it, from a socket's bytes to the core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from publican.core.backend import ModelCard, Status
from publican.core.parameters import Parameter, Wire, wire_names
from publican.core.presets import Presets
from publican.core.sampling import SAMPLING_PARAMETERS, SamplingParams
from publican.core.sampling.dialects import DIALECTS
from publican.core.sampling.wire import ORDER_NAMES, dialect_defaults, sampling_params
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask

Body = dict[str, Any]
CHAT = [{"role": "user", "content": "x"}]

ROUTES: dict[str, list[tuple[str, Callable[[Body], Body]]]] = {
    "openai": [
        ("/v1/completions", lambda said: {"prompt": "x", **said}),
        ("/v1/chat/completions", lambda said: {"messages": CHAT, **said}),
        ("/v1/responses", lambda said: {"input": "x", **said}),
    ],
    "ooba": [
        ("/api/v1/generate", lambda said: {"prompt": "x", "max_new_tokens": 5, **said}),
        ("/api/v1/chat", lambda said: {"user_input": "x", **said}),
    ],
    "ooba_openai": [("/v1/completions", lambda said: {"prompt": "x", "api_type": "ooba", **said})],
    "tabby": [("/v1/completions", lambda said: {"prompt": "x", "api_type": "tabby", **said})],
    "aphrodite": [("/v1/completions", lambda said: {"prompt": "x", "api_type": "aphrodite", **said})],
    "vllm": [
        ("/generate", lambda said: {"prompt": "x", **said}),
        ("/v1/completions", lambda said: {"prompt": "x", "api_type": "vllm", **said}),
    ],
    "kobold": [
        ("/api/latest/generate", lambda said: {"prompt": "x", **said}),
        ("/v1/completions", lambda said: {"prompt": "x", "api_type": "koboldcpp", **said}),
    ],
    "llamacpp": [
        ("/completion", lambda said: {"prompt": "x", "samplers": ["top_k", "adaptive_p"], **said}),
        ("/infill", lambda said: {"input_prefix": "x", "samplers": ["top_k", "adaptive_p"], **said}),
    ],
    "tgi": [("/generate", lambda said: {"inputs": "x", "parameters": {"do_sample": True, **said}})],
    "ollama": [("/api/generate", lambda said: {"model": "tiny", "prompt": "x", "stream": False, "raw": True, "options": said})],
    "anthropic": [("/v1/messages", lambda said: {"model": "tiny", "max_tokens": 5, "messages": CHAT, **said})],
}
BESIDE: dict[str, Body] = {"llamacpp": {"samplers": ["top_k", "adaptive_p"]}, "tgi": {"do_sample": True}}
"""What the bodies above say of sampling themselves."""

MEANS_MORE = {
    ("tgi", "best_of"): "its tries are answers, all of which are told",
    ("tgi", "grammar"): "an object with a type",
    ("tgi", "do_sample"): "any other parameter turns it on again",
    ("ooba", "dynatemp_range"): "ooba says low and high",
    ("ooba_openai", "dynatemp_range"): "ooba says low and high",
    ("ooba", "temperature_last"): "becomes an order",
    ("ooba_openai", "temperature_last"): "becomes an order",
}
"""Parameters that a dialect says in a way of its own, which its own tests look at."""

LISTS: dict[str, Any] = {
    "sequence_bias": [[[5, 6], -1.5]],
    "exponential_decay_length_penalty": [3, 1.5],
    "json_schema": {"type": "array"},
    "early_stopping": "never",
}


def example(parameter: Parameter, wire: Wire, default: Any) -> Any:
    """A value on the wire that changes something."""
    if parameter.name in LISTS:
        return LISTS[parameter.name]
    if parameter.options:
        return next(option for option in parameter.options if option != default)
    if parameter.kind is bool:
        return not default
    if parameter.kind is str:
        return "abc"
    if parameter.kind is tuple:
        return [7, 8] if "token" in parameter.name else ["abc"]
    low = parameter.low if wire.low is None else wire.low
    high = parameter.high if wire.high is None else wire.high
    numbers = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0, 4.0, -0.5)
    kinds = [int(number) for number in numbers if number.is_integer()] if parameter.kind is int else numbers
    return next(
        number
        for number in (value / wire.scale for value in kinds)
        if low <= number * wire.scale <= high and number * wire.scale not in (default, parameter.neutral)
    )


def names(dialect: str) -> Iterator[tuple[Parameter, str]]:
    for parameter in SAMPLING_PARAMETERS.values():
        if (dialect, parameter.name) not in MEANS_MORE:
            yield from ((parameter, name) for name in wire_names(parameter, dialect))


def test_every_dialect_of_the_core_has_a_route() -> None:
    assert set(ROUTES) == set(DIALECTS)


@pytest.mark.parametrize(("dialect", "at"), [(name, at) for name in ROUTES for at in range(len(ROUTES[name]))])
def test_every_parameter_arrives_under_every_name(dialect: str, at: int) -> None:
    path, body_of = ROUTES[dialect][at]
    host = ScriptedHost()
    app = app_of(host)
    beside = BESIDE.get(dialect, {})
    silent = sampling_params(dialect, beside)
    wrong: list[str] = []
    for parameter, name in names(dialect):
        default = dialect_defaults(dialect).get(parameter.name, parameter.neutral)
        value = example(parameter, parameter.wire.get(dialect, Wire()), default)
        answer = ask(app, "POST", path, body_of({name: value}))
        if answer.status_code != 200:
            wrong.append(f"{name}={value!r}: {answer.text}")
            continue
        got, expected = host.requests[-1].sampling, sampling_params(dialect, {**beside, name: value})
        if got != expected or (getattr(got, parameter.name) == getattr(silent, parameter.name) and got == silent):
            wrong.append(f"{name}={value!r}: {different(got, expected)}")
    assert not wrong, "\n".join(wrong)


def different(got: SamplingParams, expected: SamplingParams) -> str:
    fields = SamplingParams.__dataclass_fields__
    found = {name: (getattr(got, name), getattr(expected, name)) for name in fields}
    return str({name: pair for name, pair in found.items() if pair[0] != pair[1]}) if got != expected else "nothing changed"


@pytest.mark.parametrize("dialect", ROUTES)
def test_an_order_and_biases_arrive(dialect: str) -> None:
    path, body_of = ROUTES[dialect][0]
    host = ScriptedHost()
    name = ORDER_NAMES.get(dialect, ("sampler_priority",))[0]
    order = [6, 0, 1, 3, 4, 2, 5] if dialect == "kobold" else ["top_k", "temperature"]
    if dialect == "aphrodite":
        order = ["top_p_top_k", "temperature"]
    said = {name: order, "logit_bias": {"7": -1.5}}
    answer = ask(app_of(host), "POST", path, body_of(said))
    assert answer.status_code == 200, answer.text
    expected = sampling_params(dialect, {**BESIDE.get(dialect, {}), **said})
    assert expected.order
    assert expected.logit_bias
    assert host.requests[-1].sampling == expected


@pytest.mark.parametrize("dialect", ROUTES)
def test_a_preset_is_a_word_of_every_dialect(dialect: str) -> None:
    path, body_of = ROUTES[dialect][0]
    host = ScriptedHost()
    beside = BESIDE.get(dialect, {})
    for name in Presets().names():
        answer = ask(app_of(host), "POST", path, body_of({"preset": name}))
        assert answer.status_code == 200, answer.text
        assert host.requests[-1].sampling == sampling_params(dialect, beside, Presets().get(name)), name
    unknown = ask(app_of(host), "POST", path, body_of({"preset": "nothing like it"}))
    assert unknown.status_code in (400, 422)
    assert Presets().names()[0] in unknown.text


@pytest.mark.parametrize("dialect", ROUTES)
def test_what_the_model_is_best_asked_with_lies_below_what_is_said(dialect: str) -> None:
    path, body_of = ROUTES[dialect][0]
    best = {"temperature": 0.65, "top_k": 23, "repetition_penalty": 1.05}
    card = ModelCard("tiny", 2_048, True, sampling=best)
    for host in (ScriptedHost(cards=(card,)), ScriptedHost(current=Status(True, "ok", card=card))):
        beside = BESIDE.get(dialect, {})
        assert ask(app_of(host), "POST", path, body_of({})).status_code == 200
        assert host.requests[-1].sampling == sampling_params(dialect, beside, None, best)
        assert host.requests[-1].sampling.top_k == 23
        assert ask(app_of(host), "POST", path, body_of({"top_k": 5})).status_code == 200
        sampling = host.requests[-1].sampling
        assert (sampling.top_k, sampling.temperature) == (5, 0.65)
