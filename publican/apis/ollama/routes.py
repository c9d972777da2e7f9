"""Ollama's routes. Event loop only."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.infill import with_suffix
from publican.apis.ollama import models, translate
from publican.apis.ollama.answers import Answer, Chatted, Generated, durations
from publican.apis.ollama.errors import OLLAMA
from publican.apis.ollama.history import fitted
from publican.apis.ollama.lines import LineByLine
from publican.apis.ollama.schema import ChatBody, CopyBody, EmbedBody, GenerateBody, NameBody, PullBody
from publican.apis.patience import Patient, ProgressAnswer
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call, require_admin
from publican.apis.vectors import shortened
from publican.core.backend import Embeddings, ModelCard, PullProgress
from publican.core.errors import InvalidParameter, PublicanError
from publican.core.events import Usage
from publican.core.ids import TokenId
from publican.core.model_info import ModelInfo
from publican.core.request import Request, TextPrompt, TokenPrompt

_LATEST = ":latest"


# --- generating


async def generate(call: Call) -> ASGIApp:
    asked = translate.generate(call.body, call.asking)
    if asked.request is None:
        return await _load(call, asked, Generated)
    request = await with_suffix(call.host, asked.request, asked.suffix)
    tokens = None
    if asked.keeps_context:
        tokens = await _conversation(call, request, asked.context)
        request = replace(request, prompt=TokenPrompt(tokens)) if asked.context else request
    return _answer(call, asked, request, Generated(asked.model, time.time(), asked.num_top, tokens))


async def chat(call: Call) -> ASGIApp:
    asked = translate.chat(call.body, call.asking)
    if asked.request is None:
        return await _load(call, asked, Chatted)
    card = call.loaded()
    request = await fitted(call.host, asked.request, asked.room, card.context_len if card else 0)
    return _answer(call, asked, request, Chatted(asked.model, time.time(), asked.num_top))


def _answer(call: Call, asked: translate.Asked, request: Request, answer: Answer) -> ASGIApp:
    if asked.stream:
        return LineByLine(StreamAnswer(call, [request], answer))
    return WholeAnswer(call, [request], answer.whole)


async def _conversation(call: Call, request: Request, before: tuple[TokenId, ...]) -> tuple[TokenId, ...]:
    """All tokens of a conversation that `before` is the beginning of; only a beginning has the token for it."""
    turn = await call.host.tokenize(request.prompt)
    beginning = await call.host.tokenize(TextPrompt("")) if before else ()
    return (*before, *(turn[len(beginning) :] if beginning and turn[: len(beginning)] == beginning else turn))


async def _load(call: Call, asked: translate.Asked, form: type[Answer]) -> ASGIApp:
    """No prompt: the caller wants the model in memory, or out of it."""
    answer = form(asked.model, time.time())
    if asked.unload:
        require_admin(call.caller)
        await call.host.unload()
        return Json(answer.nothing("unload"))
    cards = {card.name: card for card in await call.host.models()}
    card = cards.get(asked.model) or cards.get(asked.model.removesuffix(_LATEST))
    if card is not None and not card.loaded:
        require_admin(call.caller)
        return Patient(call, call.host.load(card.name, {}), lambda _: answer.nothing("load"))
    return Json(answer.nothing("load"))


# --- vectors


async def embed(call: Call) -> ASGIApp:
    sent = EmbedBody.of(call.body)
    texts = [sent.input] if isinstance(sent.input, str) and sent.input else sent.input or []  # "" only wants the model loaded
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidParameter("input", "must be a text or a list of texts.")
    most = call.server.config.max_prompts
    if len(texts) > most:
        raise InvalidParameter("input", f"takes at most {most} texts at once, got {len(texts)}.")

    def render(made: Embeddings) -> dict[str, Any]:
        vectors = [shortened(vector, sent.dimensions) for vector in made.vectors]
        return {"model": sent.model, "embeddings": vectors, **_only_read(made)}

    prompts = tuple(TextPrompt(text) for text in texts)
    return Patient(call, call.host.embed(prompts, sent.model, sent.truncate), render)


async def embed_one(call: Call) -> ASGIApp:
    sent = EmbedBody.of(call.body)
    if not isinstance(sent.input, str):
        raise InvalidParameter("prompt", "must be a text.")
    if not sent.input:
        return Json({"embedding": []})  # whoever asks for nothing wants the model loaded
    work = call.host.embed((TextPrompt(sent.input),), sent.model, truncate=True)
    return Patient(call, work, lambda made: {"embedding": list(made.vectors[0])})


def _only_read(made: Embeddings) -> dict[str, int]:
    read = durations(Usage(made.num_tokens, 0))
    return {name: read[name] for name in ("total_duration", "load_duration", "prompt_eval_count")}


# --- models


async def tags(call: Call) -> ASGIApp:
    cards = sorted(await call.host.models(), key=lambda card: not card.loaded)
    return Json({"models": [models.listed(card, await _known(call, card)) for card in cards]})


async def running(call: Call) -> ASGIApp:
    card = call.loaded()
    return Json({"models": [] if card is None else [models.running(card, await _known(call, card))]})


async def _known(call: Call, card: ModelCard) -> ModelInfo | None:
    """What is known without reading files: a list of many models must not take seconds."""
    if not card.loaded:
        return None
    try:
        return await call.host.describe(None)
    except PublicanError:
        return None  # a list leaves out what cannot be read; whoever asks for the model itself is told why


async def show(call: Call) -> ASGIApp:
    name = await _whole_name(call, NameBody.of(call.body).model)
    return Patient(call, call.host.describe(name), models.shown)


async def version(call: Call) -> ASGIApp:
    return Json({"version": models.VERSION})


async def front(call: Call) -> ASGIApp:
    return PlainTextResponse("Ollama is running")


async def pull(call: Call) -> ASGIApp:
    sent = PullBody.of(call.body)
    steps = call.host.pull(sent.model)
    if sent.stream:
        return LineByLine(ProgressAnswer(call, steps, models.Pulling()))
    return Patient(call, _all_of(steps), lambda _: {"status": "success"})


async def _all_of(steps: AsyncIterator[PullProgress]) -> None:
    async for _ in steps:
        pass


async def delete(call: Call) -> ASGIApp:
    await call.host.delete(await _whole_name(call, NameBody.of(call.body).model))
    return Response()


async def copy(call: Call) -> ASGIApp:
    sent = CopyBody.of(call.body)
    await call.host.copy(await _whole_name(call, sent.source), sent.destination.removesuffix(_LATEST))
    return Response()


async def _whole_name(call: Call, name: str) -> str:
    """Ollama's clients write ``:latest`` behind a name that has no tag."""
    names = {card.name for card in await call.host.models()}
    return name if name in names else name.removesuffix(_LATEST)


def routes() -> list[Route]:
    key, admin = Auth.KEY, Auth.ADMIN
    return [
        Route("POST", "/api/generate", OLLAMA, key, generate, "Goes on with a text.", GenerateBody),
        Route("POST", "/api/chat", OLLAMA, key, chat, "Answers a chat.", ChatBody),
        Route("POST", "/api/embed", OLLAMA, key, embed, "Texts as vectors.", EmbedBody),
        Route("POST", "/api/embeddings", OLLAMA, key, embed_one, "A text as a vector.", EmbedBody),
        Route("GET", "/api/tags", OLLAMA, key, tags, "The models that are here."),
        Route("GET", "/api/ps", OLLAMA, key, running, "The model that is loaded."),
        Route("POST", "/api/show", OLLAMA, key, show, "Everything about a model.", NameBody),
        Route("GET", "/", OLLAMA, Auth.OPEN, front, "A sign of life, in the words that Ollama's clients look for."),
        Route("GET", "/api/version", OLLAMA, Auth.OPEN, version, "The API's version."),
        Route("POST", "/api/pull", OLLAMA, admin, pull, "Downloads a model.", PullBody),
        Route("DELETE", "/api/delete", OLLAMA, admin, delete, "Deletes a model.", NameBody),
        Route("POST", "/api/copy", OLLAMA, admin, copy, "Gives a model a second name.", CopyBody),
    ]
