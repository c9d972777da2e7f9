"""The routes of KoboldAI United (`/api/v1`, or `/api/latest`) and of KoboldCpp (`/api/extra`). Event loop only.

``GET /api/v1/model`` is ooba's, which says the same; ``POST /api/v1/generate`` is shared with it: the body says whose it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Handler, Route
from publican.apis.errors import NoSuchRoute
from publican.apis.fields import token_ids
from publican.apis.kobold import answers, info, translate
from publican.apis.kobold.errors import KOBOLD
from publican.apis.kobold.gbnf import gbnf
from publican.apis.kobold.placeholders import with_words
from publican.apis.kobold.schema import DetokenizeBody, GenerateBody, KeyBody, ModelBody, SchemaBody, TokenCountBody
from publican.apis.kobold.watching import Watched, asked_about, performance
from publican.apis.kobold.whose import is_kobold
from publican.apis.patience import Patient
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call
from publican.core.errors import InvalidParameter
from publican.core.request import TextPrompt

_USUAL_CONTEXT_LEN = 2048
"""What is said while no model is loaded."""


# --- generating


async def generate(call: Call) -> ASGIApp:
    asked = await _asked(call)
    answer = WholeAnswer(call, [asked.request], lambda fold: answers.whole(fold, asked.logprobs))
    return Watched(call, asked, answer)


async def stream(call: Call) -> ASGIApp:
    asked = await _asked(call)
    if asked.request.wanted.num_choices > 1:
        raise InvalidParameter("n", "must be 1 in a stream.")
    return Watched(call, asked, StreamAnswer(call, [asked.request], answers.Stream()))


async def _asked(call: Call) -> translate.Asked:
    """What is asked, in the model's own words, and its prompt cut so that all of the memory stays."""
    asked = translate.generate(await with_words(call.host, call.body), call.asking, _context_len(call))
    if not asked.memory:
        return asked
    tokens = await call.host.tokenize(asked.request.prompt)
    if len(tokens) <= asked.room:
        return asked
    memory = await call.host.tokenize(TextPrompt(asked.memory))
    prompt = await call.host.tokenize(TextPrompt(asked.prompt, add_bos=False))
    return replace(asked, request=replace(asked.request, prompt=translate.with_memory(memory, prompt, asked.room)))


def _context_len(call: Call) -> int:
    card = call.loaded()
    return card.context_len if card else _USUAL_CONTEXT_LEN


# --- asking about what is being generated


async def check(call: Call) -> ASGIApp:
    said = asked_about(call, KeyBody.of(call.body).genkey)
    return _json({"results": [{"text": said.text if said else ""}]})


async def last_logprobs(call: Call) -> ASGIApp:
    said = asked_about(call, KeyBody.of(call.body).genkey)
    return _json({"logprobs": answers.logprobs(said.tokens) if said else None})


async def abort(call: Call) -> ASGIApp:
    """Truth is told in words here: "true" and "false"."""
    said = asked_about(call, KeyBody.of(call.body).genkey)
    ended = said is not None and not said.ended and call.host.stop(call.caller, said.request) > 0
    return _json({"success": "true" if ended else "false", "done": "true"})


async def perf(call: Call) -> ASGIApp:
    return _json(performance(call.server.live, call.caller.user, call.host.status()))


# --- tokens


async def token_count(call: Call) -> ASGIApp:
    sent = TokenCountBody.of(call.body)
    tokens = await call.host.tokenize(TextPrompt(sent.prompt, add_bos=sent.special))
    return _json({"value": len(tokens), "ids": list(tokens)})


async def detokenize(call: Call) -> ASGIApp:
    tokens = token_ids("ids", DetokenizeBody.of(call.body).ids)
    return _json({"result": await call.host.detokenize(tokens), "success": True})


async def grammar(call: Call) -> ASGIApp:
    return _json({"result": await asyncio.to_thread(gbnf, SchemaBody.of(call.body).schema_), "success": True})


# --- the server and its model


async def model(call: Call) -> ASGIApp:
    card = call.loaded()
    if card is None:
        return _json({"result": "ReadOnly"})
    return _json({"result": f"koboldcpp/{card.name if call.known else 'protected-model'}"})


async def load(call: Call) -> ASGIApp:
    return Patient(call, call.host.load(ModelBody.of(call.body).model, {}), lambda card: {})


async def version(call: Call) -> ASGIApp:
    return _json(info.version(call.server.config.key_required, call.loaded()))


async def setting(call: Call) -> ASGIApp:
    settings = info.settings(_context_len(call))
    name = call.path["name"]
    if name == "soft_prompts_list":
        return _json({"values": []})
    if name not in settings:
        raise NoSuchRoute(f"/api/v1/config/{name}")
    return _json({"value": settings[name]})


async def true_context_len(call: Call) -> ASGIApp:
    return _json({"value": _context_len(call)})


def _fixed(value: dict[str, Any]) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return _json(value)

    return answer


def _json(value: dict[str, Any]) -> Json:
    return Json(value, headers=KOBOLD.headers)


def routes() -> list[Route]:
    return [*_generating(), *_asking(), *_knowing()]


def _generating() -> list[Route]:
    goes_on = "Goes on with a text."
    return [
        Route(
            "POST",
            "/api/v1/generate",
            KOBOLD,
            Auth.KEY,
            generate,
            goes_on,
            GenerateBody,
            sampling=True,
            when=is_kobold,
        ),
        Route("POST", "/api/latest/generate", KOBOLD, Auth.KEY, generate, goes_on, GenerateBody, sampling=True),
        Route(
            "POST",
            "/api/extra/generate/stream",
            KOBOLD,
            Auth.KEY,
            stream,
            "Goes on with a text, as it comes.",
            GenerateBody,
            sampling=True,
        ),
    ]


def _asking() -> list[Route]:
    """Each of these may be asked with a genkey or, by GET or with an empty body, without."""
    extra = "/api/extra"
    both: list[tuple[str, Handler, str]] = [
        (f"{extra}/generate/check", check, "What an answer has said so far."),
        (f"{extra}/last_logprobs", last_logprobs, "The log probabilities of an answer so far."),
    ]
    return [
        *(Route("GET", path, KOBOLD, Auth.KEY, handler, summary) for path, handler, summary in both),
        *(Route("POST", path, KOBOLD, Auth.KEY, handler, summary, KeyBody, bodiless=True) for path, handler, summary in both),
        Route("POST", f"{extra}/abort", KOBOLD, Auth.KEY, abort, "Ends an answer with what it has.", KeyBody, bodiless=True),
        Route("GET", f"{extra}/perf", KOBOLD, Auth.GUEST, perf, "The numbers of the last answer."),
        Route("POST", f"{extra}/tokencount", KOBOLD, Auth.KEY, token_count, "A text's tokens.", TokenCountBody),
        Route("POST", f"{extra}/tokenize", KOBOLD, Auth.KEY, token_count, "The same.", TokenCountBody),
        Route("POST", f"{extra}/detokenize", KOBOLD, Auth.KEY, detokenize, "The text of tokens.", DetokenizeBody),
        Route("POST", f"{extra}/json_to_grammar", KOBOLD, Auth.KEY, grammar, "A JSON schema as GBNF.", SchemaBody),
    ]


def _knowing() -> list[Route]:
    """Mostly open: SillyTavern's KoboldAI has nowhere to put a key, and these say nothing that a key protects."""
    versions = {"results": [info.UNITED_VERSION]}
    return [
        Route("GET", "/api/latest/model", KOBOLD, Auth.GUEST, model, "The loaded model's name, for those with a key."),
        Route("PUT", "/api/v1/model", KOBOLD, Auth.ADMIN, load, "Loads a model.", ModelBody),
        Route("PUT", "/api/latest/model", KOBOLD, Auth.ADMIN, load, "The same.", ModelBody),
        *(
            route
            for api in ("/api/v1", "/api/latest")
            for route in (
                Route(
                    "GET",
                    f"{api}/info/version",
                    KOBOLD,
                    Auth.OPEN,
                    _fixed({"result": info.UNITED_VERSION}),
                    "The API's version.",
                ),
                Route(
                    "GET", f"{api}/info/version/latest", KOBOLD, Auth.OPEN, _fixed({"result": info.UNITED_VERSION}), "The same."
                ),
                Route("GET", f"{api}/info/version/list", KOBOLD, Auth.OPEN, _fixed(versions), "All of them."),
                Route("GET", f"{api}/config/{{name}}", KOBOLD, Auth.OPEN, setting, "What a silent request means."),
            )
        ),
        Route("GET", "/api/extra/version", KOBOLD, Auth.OPEN, version, "What this server can do, as KoboldCpp says it."),
        Route("GET", "/api/extra/true_max_context_length", KOBOLD, Auth.OPEN, true_context_len, "The model's context."),
        Route("GET", "/.well-known/serviceinfo", KOBOLD, Auth.OPEN, _fixed(info.service()), "Which APIs are here."),
        Route("GET", "/api/extra/preloadstory", KOBOLD, Auth.OPEN, _fixed({}), "No story."),
    ]
