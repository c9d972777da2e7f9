"""Declarations: checking a value, and reading it off the wire in a dialect."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from publican.core.errors import InvalidParameter
from publican.core.parameters import Parameter, Wire, declare, declared, from_wire, sent_as, wire_defaults, wire_names


@dataclass(frozen=True, slots=True)
class Dials:
    loudness: float = declare(float, 1.0, "How loud.", low=0.0, high=10.0, aliases=("volume",))
    places: int = declare(
        int,
        0,
        "How many.",
        low=0,
        high=100,
        wire={
            "a": Wire(names=("n", "count"), off=(-1,), default=7),
            "b": Wire(clamp=True),
            "c": Wire(names=("seats",), only=True),
            "d": Wire(high=3.0),
        },
    )
    cutoff: float = declare(float, 0.0, "In small units.", low=0.0, high=1.0, wire={"e": Wire(scale=1e-4)})
    target: float | None = declare(float, None, "An aim.", low=0.0, high=1.0, negative_off=True)
    rule: str = declare(str, "left", "Which way.", options=("left", "right"))
    on: bool = declare(bool, False, "Whether.")
    items: tuple[int, ...] = declare(tuple, (), "Some.", read=lambda name, value: tuple(value))


PARAMETERS = declared(Dials)


def read(dialect: str, **body: object) -> dict:
    return from_wire(PARAMETERS.values(), dialect, body)


def test_names():
    assert wire_names(PARAMETERS["loudness"], "a") == ("loudness", "volume")
    assert wire_names(PARAMETERS["places"], "a") == ("n", "count", "places")
    assert wire_names(PARAMETERS["places"], "c") == ("seats",)
    assert sent_as(PARAMETERS["places"], "a", {"places": 1, "count": None, "n": 3}) == "n"
    assert sent_as(PARAMETERS["places"], "a", {"n": None}) is None


def test_silence_is_the_dialects_default():
    assert read("a") == {"places": 7}
    assert read("b") == {}
    assert read("a", n=None) == {"places": 7}
    assert from_wire(PARAMETERS.values(), "a", {}, defaults=False) == {}
    assert wire_defaults(PARAMETERS.values(), "a") == {"places": 7}


def test_off_scale_and_clamp():
    assert read("a", n=-1) == {"places": 0}
    assert read("b", places=1000) == {"places": 100}
    assert read("b", places=-4) == {"places": 0}
    assert read("e", cutoff=30) == {"cutoff": 0.003}
    assert isinstance(read("x", loudness=1)["loudness"], float)
    assert read("b", target=-0.01) == {"target": None}
    assert read("b", places=5.0) == {"places": 5}
    assert isinstance(read("b", places=5.0)["places"], int)


@pytest.mark.parametrize(
    ("dialect", "body", "name"),
    [
        ("x", {"loudness": 11}, "loudness"),
        ("x", {"volume": -1}, "volume"),
        ("x", {"loudness": float("nan")}, "loudness"),
        ("x", {"loudness": float("inf")}, "loudness"),
        ("x", {"loudness": "1"}, "loudness"),
        ("x", {"loudness": True}, "loudness"),
        ("x", {"loudness": [1]}, "loudness"),
        ("x", {"places": 1.5}, "places"),
        ("x", {"places": 10**400}, "places"),
        ("a", {"count": -2}, "count"),
        ("b", {"places": float("nan")}, "places"),
        ("b", {"places": float("inf")}, "places"),
        ("b", {"places": 1.5}, "places"),
        ("e", {"cutoff": 10_001}, "cutoff"),
        ("d", {"places": 4}, "places"),
        ("x", {"rule": "up"}, "rule"),
        ("x", {"on": 1}, "on"),
        ("x", {"target": 1.5}, "target"),
    ],
)
def test_what_is_refused(dialect, body, name):
    with pytest.raises(InvalidParameter, match=rf"^{name}: must be ") as caught:
        read(dialect, **body)
    assert caught.value.name == name
    assert len(str(caught.value)) < 200


def test_the_range_is_in_the_text():
    with pytest.raises(InvalidParameter, match=r"at least 0 and at most 10, got 11\.$"):
        read("x", loudness=11)
    with pytest.raises(InvalidParameter, match="at most 3,"):
        read("d", places=4)
    with pytest.raises(InvalidParameter, match=r"one of left, right, got 'up'\.$"):
        read("x", rule="up")
    texts = {p.range_text for p in PARAMETERS.values()}
    assert texts >= {"a list", "true or false", "a whole number, at least 0 and at most 100"}
    assert Parameter("x", float, 1.0, "").range_text == "a number"
    assert Parameter("x", float, 1.0, "", low=0.0, low_open=True).range_text == "a number, above 0"
    assert Parameter("x", int, 1, "", high=3).range_text == "a whole number, at most 3"
    assert Parameter("x", str, "", "").range_text == "any text"
