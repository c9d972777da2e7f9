"""The OpenAPI document, and bodies with wrong values in the fields that it names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.apis.app import all_routes
from publican.apis.document import document
from publican.core.sampling import SAMPLING_PARAMETERS
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask

DOCUMENT = ask(app_of(ScriptedHost()), "GET", "/openapi.json").json()


def test_every_route_is_in_it() -> None:
    in_document = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert in_document == {(r.method, r.path.replace(":path}", "}")) for r in all_routes() if r.path != "/openapi.json"}


def test_routes_that_take_a_body_say_what_is_in_it() -> None:
    body = DOCUMENT["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["prompt"]
    assert body["properties"]["stream"] == {"default": False, "title": "Stream", "type": "boolean"}
    assert body["additionalProperties"] is True
    assert body["properties"]["temperature"]["description"] == SAMPLING_PARAMETERS["temperature"].text
    assert set(SAMPLING_PARAMETERS) <= set(body["properties"])


def test_it_has_no_dangling_references() -> None:
    text = json.dumps(document(all_routes()))
    assert "$defs" not in text
    assert "$ref" not in text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALID = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "user_input": "x"}


@pytest.mark.parametrize("path", [path for path, methods in DOCUMENT["paths"].items() if "post" in methods])
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_body_with_wrong_values_is_no_fault_of_ours(path: str, data: st.DataObject) -> None:
    sent = DOCUMENT["paths"][path]["post"].get("requestBody")
    schema = sent["content"]["application/json"]["schema"] if sent else {}
    names = sorted({"x", *(name for kind in schema.get("anyOf", [schema]) for name in kind.get("properties", {}))})
    body = VALID | data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    check("POST", path, json.dumps(body).encode())


def check(method: str, path: str, content: bytes) -> None:
    answer = ask(app_of(ScriptedHost()), method, path, content=content)
    assert answer.status_code < 500 or answer.status_code == 501, answer.text  # 501 is "not to be had here"
    if answer.status_code >= 400:
        assert answer.json(), "every dialect says an error in JSON"
