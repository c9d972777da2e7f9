"""The route of OpenAI's Responses: reads a body, has it translated, and answers with items. Event loop only."""

from __future__ import annotations

import time

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.openai.errors import OPENAI
from publican.apis.respond import StreamAnswer, WholeAnswer
from publican.apis.responses import items, translate
from publican.apis.responses.schema import ResponsesBody
from publican.apis.responses.stream import Events
from publican.apis.server import Call


async def responses(call: Call) -> ASGIApp:
    asked = translate.response(call.body, call.asking)
    labels = items.Labels(asked, call.server.model_name(asked.request.model), int(time.time()))
    if asked.stream:
        return StreamAnswer(call, [asked.request], Events(labels))
    return WholeAnswer(call, [asked.request], lambda fold: items.whole(labels, fold))


def routes() -> list[Route]:
    return [Route("POST", "/v1/responses", OPENAI, Auth.KEY, responses, "Answers items.", ResponsesBody, sampling=True)]
