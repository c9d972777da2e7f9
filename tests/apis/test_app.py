"""Every route: whose it is, who may use it, what it says to nothing; and every error's status."""

from __future__ import annotations

import inspect
import itertools
import logging
from typing import Any

import pytest

from publican.apis import errors as api_errors
from publican.apis.app import DIALECTS, SOCKETS, all_routes, dialect_of
from publican.apis.dialect import Auth, Dialect, Route
from publican.apis.errors import STATUSES, Unauthenticated, as_public, error_headers, status_of
from publican.core import errors as core_errors
from publican.core.errors import (
    EngineError,
    InvalidParameter,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    PlanError,
    PromptTooLong,
    PublicanError,
    WorkerDied,
)
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask, keyed

ROUTES = all_routes()


def name_of(route: Route) -> str:
    """Where several dialects have a path, all but the last say whose it is."""
    return f"{route.method} {route.path}" + (f" ({route.dialect.name})" if route.when is not None else "")


BY_NAME = {name_of(route): route for route in ROUTES}

OWNERS = {
    "GET /health": ("house", "open", 200),
    "GET /metrics": ("house", "key", 200),
    "GET /debug/trace": ("house", "admin", 200),
    "GET /openapi.json": ("house", "open", 200),
    "GET /v1/models": ("openai", "key", 200),
    "GET /models": ("openai", "key", 200),
    "GET /v1/models/{name:path}": ("openai", "key", 200),
    "POST /v1/completions": ("openai", "key", 400),
    "POST /v1/chat/completions": ("openai", "key", 400),
    "POST /chat/completions": ("openai", "key", 400),
    "POST /v1/embeddings": ("openai", "key", 400),
    "POST /v1/responses": ("openai", "key", 400),
    "POST /v1/responses/input_tokens": ("openai", "key", 400),
    "POST /v1/chat/completions/input_tokens": ("openai", "key", 400),
    "GET /v1/internal/health": ("ooba_openai", "key", 200),
    "POST /v1/internal/encode": ("ooba_openai", "key", 400),
    "POST /v1/internal/decode": ("ooba_openai", "key", 400),
    "POST /v1/internal/token-count": ("ooba_openai", "key", 400),
    "POST /v1/internal/logits": ("ooba_openai", "key", 400),
    "POST /v1/internal/chat-prompt": ("ooba_openai", "key", 400),
    "POST /v1/internal/stop-generation": ("ooba_openai", "key", 200),
    "GET /v1/internal/model/info": ("ooba_openai", "key", 200),
    "GET /v1/internal/model/list": ("ooba_openai", "admin", 200),
    "POST /v1/internal/model/load": ("ooba_openai", "admin", 400),
    "POST /v1/internal/model/unload": ("ooba_openai", "admin", 200),
    "GET /v1/internal/lora/list": ("ooba_openai", "admin", 200),
    "POST /v1/internal/lora/load": ("ooba_openai", "admin", 200),
    "POST /v1/internal/lora/unload": ("ooba_openai", "admin", 200),
    "POST /api/v1/generate (kobold)": ("kobold", "key", 400),
    "POST /api/latest/generate": ("kobold", "key", 400),
    "POST /api/extra/generate/stream": ("kobold", "key", 400),
    "GET /api/extra/generate/check": ("kobold", "key", 200),
    "GET /api/extra/last_logprobs": ("kobold", "key", 200),
    "POST /api/extra/generate/check": ("kobold", "key", 200),
    "POST /api/extra/last_logprobs": ("kobold", "key", 200),
    "POST /api/extra/abort": ("kobold", "key", 200),
    "GET /api/extra/perf": ("kobold", "guest", 200),
    "POST /api/extra/tokencount": ("kobold", "key", 400),
    "POST /api/extra/tokenize": ("kobold", "key", 400),
    "POST /api/extra/detokenize": ("kobold", "key", 400),
    "POST /api/extra/json_to_grammar": ("kobold", "key", 400),
    "GET /api/latest/model": ("kobold", "guest", 200),
    "PUT /api/v1/model": ("kobold", "admin", 400),
    "PUT /api/latest/model": ("kobold", "admin", 400),
    "GET /api/v1/info/version": ("kobold", "open", 200),
    "GET /api/v1/info/version/latest": ("kobold", "open", 200),
    "GET /api/v1/info/version/list": ("kobold", "open", 200),
    "GET /api/v1/config/{name}": ("kobold", "open", 200),
    "GET /api/latest/info/version": ("kobold", "open", 200),
    "GET /api/latest/info/version/latest": ("kobold", "open", 200),
    "GET /api/latest/info/version/list": ("kobold", "open", 200),
    "GET /api/latest/config/{name}": ("kobold", "open", 200),
    "GET /api/extra/version": ("kobold", "open", 200),
    "GET /api/extra/true_max_context_length": ("kobold", "open", 200),
    "GET /.well-known/serviceinfo": ("kobold", "open", 200),
    "GET /api/extra/preloadstory": ("kobold", "open", 200),
    "POST /v1/messages": ("anthropic", "key", 400),
    "POST /v1/messages/count_tokens": ("anthropic", "key", 400),
    "POST /generate (tgi)": ("tgi", "key", 400),
    "POST /generate_stream": ("tgi", "key", 422),
    "POST /": ("tgi", "key", 422),
    "POST /invocations": ("tgi", "key", 422),
    "POST /tokenize (tgi)": ("tgi", "key", 400),
    "POST /chat_tokenize": ("tgi", "key", 422),
    "GET /info": ("tgi", "open", 200),
    "GET /ping": ("tgi", "open", 200),
    "POST /api/generate": ("ollama", "key", 400),
    "POST /api/chat": ("ollama", "key", 400),
    "POST /api/embed": ("ollama", "key", 400),
    "POST /api/embeddings": ("ollama", "key", 400),
    "GET /api/tags": ("ollama", "key", 200),
    "GET /api/ps": ("ollama", "key", 200),
    "POST /api/show": ("ollama", "key", 400),
    "GET /": ("ollama", "open", 200),
    "POST /api/extra/embeddings": ("openai", "key", 400),
    "GET /api/version": ("ollama", "open", 200),
    "POST /api/pull": ("ollama", "admin", 400),
    "DELETE /api/delete": ("ollama", "admin", 400),
    "POST /api/copy": ("ollama", "admin", 400),
    "GET /v1/model": ("tabby", "key", 200),
    "GET /v1/model/list": ("tabby", "key", 200),
    "POST /v1/model/load": ("tabby", "admin", 400),
    "POST /v1/model/unload": ("tabby", "admin", 200),
    "POST /v1/token/encode": ("tabby", "key", 400),
    "POST /v1/token/decode": ("tabby", "key", 400),
    "GET /v1/auth/permission": ("tabby", "key", 200),
    "POST /v1/download": ("tabby", "admin", 400),
    "GET /v1/loras": ("tabby", "key", 200),
    "GET /v1/lora": ("tabby", "key", 200),
    "GET /v1/template/list": ("tabby", "key", 200),
    "GET /v1/sampling/override/list": ("tabby", "key", 200),
    "POST /tokenize (vllm)": ("vllm", "key", 400),
    "POST /v1/tokenize": ("vllm", "key", 400),
    "GET /version": ("vllm", "open", 200),
    "POST /generate (vllm)": ("vllm", "key", 400),
    "POST /completion": ("llamacpp", "key", 400),
    "POST /completions": ("llamacpp", "key", 400),
    "POST /infill": ("llamacpp", "key", 400),
    "POST /tokenize": ("llamacpp", "key", 200),
    "POST /detokenize": ("llamacpp", "key", 400),
    "POST /apply-template": ("llamacpp", "key", 400),
    "POST /embedding": ("llamacpp", "key", 400),
    "POST /embeddings": ("llamacpp", "key", 400),
    "GET /props": ("llamacpp", "key", 200),
    "POST /props": ("llamacpp", "admin", 501),
    "GET /slots": ("llamacpp", "key", 200),
    "POST /slots/{id}": ("llamacpp", "key", 501),
    "GET /lora-adapters": ("llamacpp", "key", 200),
    "GET /v1/health": ("llamacpp", "open", 200),
    "POST /api/v1/generate": ("ooba", "key", 400),
    "POST /api/v1/chat": ("ooba", "key", 400),
    "POST /api/v1/token-count": ("ooba", "key", 400),
    "POST /api/v1/stop-stream": ("ooba", "key", 200),
    "GET /api/v1/model": ("ooba", "key", 200),
    "POST /api/v1/model": ("ooba", "key", 400),
}
"""Whose it is, who may use it, and the status of an answer to an empty body. A new route needs a line here."""


def path_of(route: Route) -> str:
    return route.path.replace("{name:path}", "tiny").replace("/config/{name}", "/config/max_length")


def test_every_route_has_a_line_above_and_stands_once() -> None:
    assert {name: (route.dialect.name, route.auth.value) for name, route in BY_NAME.items()} == {
        name: (owner, auth) for name, (owner, auth, _) in OWNERS.items()
    }
    assert len(BY_NAME) == len(ROUTES)
    assert [(s.path, s.dialect.name, s.auth) for s in SOCKETS] == [
        ("/api/v1/stream", "ooba", Auth.KEY),
        ("/api/v1/chat-stream", "ooba", Auth.KEY),
    ]


@pytest.mark.parametrize("name", [name for name in OWNERS if BY_NAME[name].when is None])
def test_an_empty_body(name: str) -> None:
    route = BY_NAME[name]
    answer = ask(app_of(ScriptedHost()), route.method, path_of(route))
    assert answer.status_code == OWNERS[name][2]
    if answer.status_code in (400, 422):
        assert "empty" in answer.text


@pytest.mark.parametrize("name", OWNERS)
def test_keys(name: str) -> None:
    route = BY_NAME[name]
    app = app_of(ScriptedHost(), keyed, key_required=True)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}, {"x-api-key": "wrong"}):
        answer = ask(app, route.method, path_of(route), {}, headers)
        shown = "wrong" in str(headers)
        assert (answer.status_code == 401) == (route.auth is not Auth.OPEN and (shown or route.auth is not Auth.GUEST)), headers
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "key" in answer.text
    for headers in (
        {"authorization": "Bearer friend"},
        {"authorization": "bearer  friend"},
        {"x-api-key": "friend"},
        {"authorization": "friend"},
    ):
        refused = (403,) if route.auth is Auth.ADMIN else (200, 400, 422, 501)
        assert ask(app, route.method, path_of(route), {}, headers).status_code in refused, headers


SHARED = sorted({(r.method, r.path) for r in ROUTES if r.when is not None})


@pytest.mark.parametrize(("method", "path"), SHARED)
def test_shared_paths_answer_a_body_that_is_nobody_s(method: str, path: str) -> None:
    """It goes to the last of its owners; and all of them have one rule about keys."""
    owners = [route for route in ROUTES if (route.method, route.path) == (method, path)]
    assert len(owners) > 1
    assert len({route.auth for route in owners}) == 1
    answer = ask(app_of(ScriptedHost()), method, path, {"x": 1})
    assert answer.status_code in (200, 400, 422)


@pytest.mark.parametrize("name", [name for name in OWNERS if name.startswith("GET")])
def test_head(name: str) -> None:
    route = BY_NAME[name]
    assert ask(app_of(ScriptedHost()), "HEAD", path_of(route)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", sorted({path_of(route) for route in ROUTES}))
def test_other_methods_are_refused_in_the_dialect_s_words(method: str, path: str) -> None:
    own = {route.method for route in ROUTES if path_of(route) == path}
    own |= {"HEAD"} if "GET" in own else set()
    if method in own:
        return
    answer = ask(app_of(ScriptedHost()), method, path)
    assert answer.status_code == 405
    assert own <= set(answer.headers["allow"].split(", "))
    if method != "HEAD":
        assert method in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/api/v1/nothing", "/nothing", "/v1/models", "/v1/completions/x", "/api/v1/generate/x", "/v1"]
)
def test_a_path_that_is_not_there(path: str) -> None:
    answer = ask(app_of(ScriptedHost()), "POST", path, {"prompt": "x"})
    assert answer.status_code in (404, 405)
    assert path in answer.json()["error"]["message"]


# --- errors


def public_errors() -> list[PublicanError]:
    """One of each class of the tree, ours among them."""
    made = []
    for _, cls in itertools.chain(inspect.getmembers(core_errors), inspect.getmembers(api_errors)):
        if inspect.isclass(cls) and issubclass(cls, PublicanError):
            made.append(example_of(cls))
    return made


def example_of(cls: Any) -> PublicanError:
    arguments: dict[str, tuple[Any, ...]] = {
        "InvalidParameter": ("top_p", "must be smaller."),
        "PromptTooLong": (9_000, 2_048),
        "ModelNotFound": ("x", ("tiny",)),
        "Overloaded": ("Full; try again in 7 s.", 7),
        "BodyTooLarge": (100,),
        "NoSuchRoute": ("/x",),
        "WrongMethod": ("GET", "/x"),
    }
    error: PublicanError = cls(*arguments.get(cls.__name__, ("It did not work.",)))
    return error


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize("error", public_errors(), ids=lambda e: type(e).__name__)
def test_every_error_has_a_status_and_words_in_every_dialect(error: PublicanError, dialect: Dialect) -> None:
    status = status_of(error, dialect.statuses)
    assert 400 <= status < 600
    words = str(error).removeprefix("top_p: ").rstrip(".")  # dialects have ways of their own to name a parameter
    said = str(dialect.error_body(error, status))
    assert words in said or "'" in str(error) or "9000" in said  # or what they say of a prompt that is too long


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidParameter("n", "is wrong."), 400),
        (PromptTooLong(3_000, 2_048), 400),
        (Unauthenticated("No."), 401),
        (NotAllowed("No."), 403),
        (ModelNotFound("x"), 404),
        (Overloaded("Full.", 3), 429),
        (EngineError("Broken."), 500),
        (WorkerDied("Dead."), 503),
        (PublicanError("Something."), 500),
    ],
)
def test_statuses(error: PublicanError, status: int) -> None:
    assert status_of(error, STATUSES) == status


def test_ooba_says_503_to_too_many() -> None:
    assert status_of(Overloaded("Full.", 3), dialect_of("/api/v1/generate").statuses) == 503


def test_when_to_come_back() -> None:
    assert error_headers(Overloaded("Full.", 7), 429) == {"retry-after": "7"}
    assert "retry-after" in error_headers(WorkerDied("Dead."), 503)


def test_our_own_faults_are_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    for fault in (PlanError("slot 3 has pages [1, 2]"), ValueError("/home/me/secret")):
        with caplog.at_level(logging.ERROR):
            public = as_public(fault)
        assert "log as error" in str(public)
        assert str(fault) not in str(public)
        assert caplog.records[-1].exc_info
        assert str(public)[-9:-1] in caplog.records[-1].getMessage()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/api/v1/generate"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_of_the_host_is_an_answer_of_the_dialect(path: str, stream: bool) -> None:
    body = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    answer = ask(app_of(ScriptedHost(refusal=Overloaded("Full; try again in 9 s.", 9))), "POST", path, body)
    assert answer.status_code == (503 if path.startswith("/api") else 429)
    assert answer.headers["retry-after"] == "9"
    assert "Full" in answer.json()["error"]["message"]
    broken = ask(app_of(ScriptedHost(refusal=RuntimeError("secret"))), "POST", path, body)
    assert broken.status_code == 500
    assert "secret" not in broken.text


def test_the_largest_body() -> None:
    app = app_of(ScriptedHost(), max_body_bytes=1_000)
    assert ask(app, "POST", "/v1/completions", {"prompt": "x" * 900}).status_code == 200
    refused = ask(app, "POST", "/v1/completions", {"prompt": "x" * 1_000})
    assert refused.status_code == 413
    assert "1,000 bytes" in refused.json()["error"]["message"]


def test_a_compressed_body_is_refused_and_not_misread() -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/v1/completions", {"prompt": "x"}, {"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert "compressed" in answer.text


def test_authenticate_may_be_a_coroutine_function() -> None:
    async def later(key: str | None) -> Any:
        return keyed(key)

    app = app_of(ScriptedHost(), later)
    assert ask(app, "GET", "/v1/models").status_code == 401
    assert ask(app, "GET", "/v1/models", headers={"authorization": "Bearer friend"}).status_code == 200
