"""Anthropic's routes. Event loop only."""

from __future__ import annotations

from starlette.types import ASGIApp

from publican.apis.anthropic import translate
from publican.apis.anthropic.answers import Answer
from publican.apis.anthropic.errors import ANTHROPIC
from publican.apis.anthropic.schema import CountBody, MessagesBody
from publican.apis.dialect import Auth, Route
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call


async def messages(call: Call) -> ASGIApp:
    asked = translate.messages(call.body, call.asking)
    answer = Answer(asked.request.id, call.server.model_name(asked.model))
    if asked.stream:
        return StreamAnswer(call, [asked.request], answer)
    return WholeAnswer(call, [asked.request], answer.whole)


async def count_tokens(call: Call) -> ASGIApp:
    tokens = await call.host.tokenize(translate.counted(call.body))
    return Json({"input_tokens": len(tokens)})


def routes() -> list[Route]:
    path = "/v1/messages"
    return [
        Route("POST", path, ANTHROPIC, Auth.KEY, messages, "Answers a conversation.", MessagesBody, sampling=True),
        Route("POST", f"{path}/count_tokens", ANTHROPIC, Auth.KEY, count_tokens, "How long one is.", CountBody),
    ]
