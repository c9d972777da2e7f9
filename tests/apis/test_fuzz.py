"""A fuzzer that reads our OpenAPI document makes bodies of it: none is answered with a fault of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.apis.test_document import DOCUMENT, check

schemathesis = pytest.importorskip("schemathesis")
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_no_body_is_answered_with_a_fault_of_ours(case: Any) -> None:
    sent = case.as_transport_kwargs(base_url="http://localhost")
    content = json.dumps(sent["json"]).encode() if "json" in sent else sent.get("data") or b""
    check(case.method, case.formatted_path, content)
