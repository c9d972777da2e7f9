"""OpenAI's routes: each reads a body, has it translated, and answers with a rendering. Event loop only."""

from __future__ import annotations

import time

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.infill import with_suffix
from publican.apis.openai import embeddings, translate
from publican.apis.openai.answers import Answer, listed
from publican.apis.openai.errors import OPENAI
from publican.apis.openai.forms import ChatCompletion, Completion
from publican.apis.openai.schema import ChatBody, CompletionBody, EmbeddingsBody
from publican.apis.patience import Patient
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call
from publican.core.errors import ModelNotFound


async def models(call: Call) -> ASGIApp:
    cards = sorted(await call.host.models(), key=lambda card: not card.loaded)
    return Json({"object": "list", "data": [each for card in cards for each in listed(card)]})


async def one_model(call: Call) -> ASGIApp:
    found = {each["id"]: each for card in await call.host.models() for each in listed(card)}
    name = call.path["name"]
    if name not in found:
        raise ModelNotFound(name, tuple(found))
    return Json(found[name])


async def completions(call: Call) -> ASGIApp:
    asked = translate.completion(call.body, call.asking)
    requests = [await with_suffix(call.host, request, asked.suffix) for request in asked.requests]
    return _answer(call, translate.Asked(tuple(requests), asked.shape), Completion)


async def chat_completions(call: Call) -> ASGIApp:
    return _answer(call, translate.chat(call.body, call.asking), ChatCompletion)


def _answer(call: Call, asked: translate.Asked, form: type[Answer]) -> ASGIApp:
    request = asked.requests[0]
    answer = form(request, asked.shape, call.server.model_name(request.model), int(time.time()))
    if asked.shape.stream:
        return StreamAnswer(call, asked.requests, answer)
    return WholeAnswer(call, asked.requests, answer.whole)


async def embed(call: Call) -> ASGIApp:
    sent = EmbeddingsBody.of(call.body)
    name = call.server.model_name(sent.model)
    work = call.host.embed(embeddings.prompts(sent, call.server.config.max_prompts), sent.model or None)
    return Patient(call, work, lambda made: embeddings.answer(sent, made, name))


def routes() -> list[Route]:
    return [
        Route("GET", "/v1/models", OPENAI, Auth.KEY, models, "The models that are here; the loaded one first."),
        Route("GET", "/models", OPENAI, Auth.KEY, models, "The same, for clients that leave out the version."),
        Route("GET", "/v1/models/{name:path}", OPENAI, Auth.KEY, one_model, "One of them."),
        Route("POST", "/v1/completions", OPENAI, Auth.KEY, completions, "Goes on with a text.", CompletionBody, sampling=True),
        Route("POST", "/v1/chat/completions", OPENAI, Auth.KEY, chat_completions, "Answers a chat.", ChatBody, sampling=True),
        Route("POST", "/chat/completions", OPENAI, Auth.KEY, chat_completions, "The same.", ChatBody, sampling=True),
        Route("POST", "/v1/embeddings", OPENAI, Auth.KEY, embed, "Texts as vectors.", EmbeddingsBody),
        Route("POST", "/api/extra/embeddings", OPENAI, Auth.KEY, embed, "The same, as KoboldCpp calls it.", EmbeddingsBody),
    ]
