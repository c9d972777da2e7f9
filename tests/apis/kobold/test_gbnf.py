"""Schemas as GBNF: what fits is taken by the engine's own reader, what does not is refused, and nothing hangs on odd ones."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.apis.kobold.gbnf import MAX_LEN, _both, gbnf
from publican.core.errors import InvalidParameter
from publican.core.sampling import SamplingParams
from tests.apis.fake_host import ScriptedHost
from tests.apis.openai.test_translate import ANYTHING
from tests.apis.running import app_of, ask
from tests.host.answers.byte_vocabulary import Walk, vocabulary

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "age": {"type": "integer"},
        "likes": {"type": "array", "items": {"enum": ["tea", 'a "b"\\', None, 1.5]}, "minItems": 1, "maxItems": 2},
        "friend": {"$ref": "#/$defs/who"},
    },
    "required": ["age"],
    "$defs": {"who": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
}
CASES: list[tuple[Any, list[Any], list[str]]] = [
    (
        PERSON,
        [
            {"age": 1},
            {"name": "é€", "age": -20},
            {"name": "abcde", "age": 0, "likes": ["tea", 'a "b"\\'], "friend": None},
            {"age": 1, "likes": [None, 1.5], "friend": {"age": 2, "friend": {"name": "x", "age": 3}}},
        ],
        ["{}", '{"name":"x"}', '{"age":01}', '{"age":1.5}', '{"name":"abcdef","age":1}', '{"age":1,"likes":[]}', '{"age":1,}'],
    ),
    ({"type": "object"}, [{}, {"a": [1, {"b": None}]}], ["[]", "{a:1}"]),
    ({}, [1, "x", None, [True], {"a": {}}, -1.5e10], ["nul", ""]),
    ({"type": ["string", "null"]}, ["x\n\"", None], ["1"]),
    ({"type": "object", "additionalProperties": {"type": "boolean"}}, [{}, {"x": True, "y": False}], ['{"x":1}']),
    ({"type": "object", "additionalProperties": False}, [{}], ['{"x":1}']),
    ({"patternProperties": {"^x": True}, "additionalProperties": False}, [{}, {"x": 1}], ["[]"]),
    ({"prefixItems": [{"type": "integer"}, {"const": "x"}]}, [[1, "x"]], ["[1]", '["x",1]']),
    ({"items": {"type": "integer"}, "maxItems": 0}, [[]], ["[1]"]),
    ({"items": {"type": "integer"}, "minItems": 2}, [[1, 2], [1, 2, 3]], ["[1]", "[]"]),
    (
        {"properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}}},
        [{}, {"a": None}, {"b": None}, {"c": None}, {"a": None, "c": None}, {"a": None, "b": None, "c": None}],
        ['{"d":null}', '{,"a":null}', '{"a":null "b":null}'],
    ),
    (
        {"properties": {"k": {"const": 1}}, "required": ["k"], "oneOf": [{"properties": {"v": {}}, "required": ["v"]}]},
        [{"k": 1, "v": ""}],
        ['{"k":1}', '{"v":""}'],
    ),
    ({"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {}}}],
      "$defs": {"a": {"properties": {"x": {}}, "required": ["x"]}}},
     [{"x": 1}, {"x": 1, "y": 2}], ['{"y":2}']),
]  # fmt: skip


def walk(schema: Any) -> Walk:
    return Walk(vocabulary([]), SamplingParams(grammar=gbnf(schema)))


@pytest.mark.parametrize(("schema", "good", "bad"), CASES, ids=range(len(CASES)))
def test_what_fits_and_what_does_not(schema: Any, good: list[Any], bad: list[str]) -> None:
    it = walk(schema)
    for value in good:
        for text in (
            json.dumps(value),
            json.dumps(value, separators=(",", ":")),
            json.dumps(value, indent=2),
            json.dumps(value, ensure_ascii=False),
        ):
            assert it.accepts(text), text
    for text in bad:
        assert not it.accepts(text), text


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "thing"}, "no type 'thing'"),
        ({"properties": {"a": False}}, "an object, or true"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "https://example.org/x"}, "leads out of it"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "more than maxLength"),
        ({"type": "string", "maxLength": 10**9}, "from 0 to 1,000"),
        ({"type": "array", "maxItems": "2"}, "from 0 to 1,000"),
        ({"properties": [], "type": "object"}, "properties must be an object"),
        ({"enum": ["x" * MAX_LEN]}, "too long"),
    ],
)
def test_what_it_cannot_say_is_said(schema: Any, complaint: str) -> None:
    with pytest.raises(InvalidParameter, match=complaint):
        gbnf(schema)


@pytest.mark.parametrize("schema", [case[0] for case in CASES], ids=range(len(CASES)))
def test_every_rule_is_there_once(schema: Any) -> None:
    names = [line.partition(" ::= ")[0] for line in gbnf(schema).splitlines()]
    assert sorted(names) == sorted(set(names))


def test_what_is_required_again_and_again_is_required_once() -> None:
    """Each reference said all of it anew: 50,000 names and 200 references took seconds and 200 MB."""
    part = {"properties": {"x": {}}, "required": ["x", 7] * 500}
    schema = {"allOf": [{"$ref": "#/$defs/a"}] * 200, "$defs": {"a": part}}
    assert len(_both(part, part)["required"]) == 1
    assert gbnf(schema)
    with pytest.raises(InvalidParameter, match="too long"):
        gbnf({"anyOf": [{"required": [1] * MAX_LEN}]})


def test_schemas_that_go_round_or_blow_up_end() -> None:
    assert gbnf({"$ref": "#"})
    assert gbnf({"properties": {"a": {"$ref": "#"}}})
    with pytest.raises(InvalidParameter):
        gbnf({"allOf": [{"$ref": "#"}]})
    ways: Any = {"type": "null"}
    for _ in range(25):
        ways = {"anyOf": [ways, ways]}
    with pytest.raises(InvalidParameter, match="too long"):
        gbnf(ways)


WORDS = ["type", "properties", "items", "required", "anyOf", "oneOf", "allOf", "$ref", "enum", "const", "minItems", "maxLength"]
schemas = st.recursive(
    st.one_of(ANYTHING, st.sampled_from(["#", "object", "string", "array"])),
    lambda inner: st.one_of(st.dictionaries(st.sampled_from([*WORDS, "a"]), inner, max_size=4), st.lists(inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), schemas, max_size=4))
def test_whatever_is_sent_gets_a_grammar_or_a_refusal(schema: dict[str, Any]) -> None:
    with suppress(InvalidParameter):
        assert gbnf(schema).startswith("root ::= ")


def test_over_http() -> None:
    app = app_of(ScriptedHost())
    answer = ask(app, "POST", "/api/extra/json_to_grammar", {"schema": {"type": "integer"}})
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert answer.json()["result"].splitlines()[0] == "root ::= ws integer ws"
    wrong = ask(app, "POST", "/api/extra/json_to_grammar", {"schema": {"type": "thing"}})
    assert wrong.status_code == 422
    assert "thing" in wrong.json()["detail"]["msg"]
