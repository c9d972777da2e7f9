"""The routes of OpenAI's Responses: read a body, have it translated, answer with items or a count. Event loop only."""

from __future__ import annotations

import time

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.openai.errors import OPENAI
from publican.apis.openai.schema import ChatBody
from publican.apis.openai.translate import chat_prompt
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.responses import items, translate
from publican.apis.responses.schema import ResponsesBody
from publican.apis.responses.stream import Events
from publican.apis.server import Call
from publican.core.request import Prompt


async def responses(call: Call) -> ASGIApp:
    asked = translate.response(call.body, call.asking)
    labels = items.Labels(asked, call.server.model_name(asked.request.model), int(time.time()))
    if asked.stream:
        return StreamAnswer(call, [asked.request], Events(labels))
    return WholeAnswer(call, [asked.request], lambda fold: items.whole(labels, fold))


async def input_tokens(call: Call) -> ASGIApp:
    asked = translate.response(call.body, call.asking)
    return await _counted(call, asked.request.prompt, asked.request.model)


async def chat_input_tokens(call: Call) -> ASGIApp:
    sent = ChatBody.of(call.body)
    return await _counted(call, chat_prompt(sent), sent.model or None)


async def _counted(call: Call, prompt: Prompt, model: str | None) -> ASGIApp:
    return Json({"object": "response.input_tokens", "input_tokens": len(await call.host.tokenize(prompt, model))})


def routes() -> list[Route]:
    own, key, count = OPENAI, Auth.KEY, "How many tokens they are."
    return [
        Route("POST", "/v1/responses", own, key, responses, "Answers items.", ResponsesBody, sampling=True),
        Route("POST", "/v1/responses/input_tokens", own, key, input_tokens, count, ResponsesBody),
        Route("POST", "/v1/chat/completions/input_tokens", own, key, chat_input_tokens, "The same of a chat.", ChatBody),
    ]
