"""TGI's names for our numbers: everybody's requests, whatever their dialect."""

from __future__ import annotations

from publican.core.errors import EngineError, Overloaded
from tests.apis.fake_host import ScriptedHost, failing
from tests.apis.running import app_of, ask


def numbers(host: ScriptedHost, *bodies: tuple[str, dict[str, object]]) -> dict[str, float]:
    app = app_of(host)
    for path, body in bodies:
        ask(app, "POST", path, body)
    lines = ask(app, "GET", "/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("tgi_"))}


def test_answered_requests_are_counted() -> None:
    found = numbers(ScriptedHost(), ("/generate", {"inputs": "x"}), ("/v1/completions", {"prompt": "x"}))
    assert (found["tgi_request_count"], found["tgi_request_success"]) == (2, 2)
    assert (found["tgi_queue_size"], found["tgi_batch_current_size"]) == (3, 2)
    assert found["tgi_request_duration_count"] == 2
    assert found['tgi_request_duration_bucket{le="+Inf"}'] == 2


def test_failures_have_tgi_s_words() -> None:
    wrong = numbers(ScriptedHost(), ("/generate", {"inputs": ""}), ("/v1/completions", {}))
    assert wrong['tgi_request_failure{err="validation"}'] == 2
    assert (wrong["tgi_request_count"], wrong["tgi_request_success"]) == (2, 0)
    full = numbers(ScriptedHost(refusal=Overloaded("Full.", 1)), ("/generate", {"inputs": "x"}))
    assert full['tgi_request_failure{err="overloaded"}'] == 1
    broken = numbers(ScriptedHost(failing(EngineError("Broken."))), ("/generate", {"inputs": "x"}))
    assert broken['tgi_request_failure{err="generation"}'] == 1
