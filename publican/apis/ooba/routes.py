"""The blocking routes of the 2023 API. Event loop only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.fold import Fold
from publican.apis.ooba import translate
from publican.apis.ooba.chat import fit
from publican.apis.ooba.errors import OOBA
from publican.apis.ooba.schema import ChatBody, GenerateBody, ModelBody, TokenCountBody
from publican.apis.respond import Json, WholeAnswer
from publican.apis.server import Call, require_admin
from publican.core.backend import ModelCard
from publican.core.errors import InvalidParameter
from publican.core.request import Prompt, Request, TextPrompt


async def generate(call: Call) -> ASGIApp:
    return WholeAnswer(call, [translate.generate(call.body, call.asking)], texts)


def texts(fold: Fold) -> dict[str, Any]:
    return _results({"text": "".join(choice.text for choice in fold.in_order())})


async def chat(call: Call) -> ASGIApp:
    asked = translate.chat(call.body, call.asking)
    if asked.unchanged is not None:
        return Json(_results({"history": asked.unchanged}), headers=OOBA.headers)
    request = await fitted(call, asked)

    def whole(fold: Fold) -> dict[str, Any]:
        return _results({"history": asked.histories.after("".join(choice.text for choice in fold.in_order()))})

    return WholeAnswer(call, [request], whole)


async def fitted(call: Call, asked: translate.Chat) -> Request:
    """The request of a chat, with as much of its history as there is room for."""

    async def count(prompt: Prompt) -> int:
        return len(await call.host.tokenize(prompt))

    card = call.loaded()
    room = asked.room if card is None else min(asked.room, card.context_len - (asked.request.stopping.max_tokens or 1))
    prompt = await fit(asked.conversation, count, room)
    return replace(asked.request, prompt=prompt)


async def token_count(call: Call) -> ASGIApp:
    sent = TokenCountBody.of(call.body)
    tokens = await call.host.tokenize(TextPrompt(sent.prompt))
    return Json(_results({"tokens": len(tokens)}), headers=OOBA.headers)


async def stop_stream(call: Call) -> ASGIApp:
    call.host.stop(call.caller)
    return Json({"results": "success"}, headers=OOBA.headers)


async def model(call: Call) -> ASGIApp:
    card = call.loaded()
    return Json({"result": card.name if card else "None"}, headers=OOBA.headers)


async def model_action(call: Call) -> ASGIApp:
    sent = ModelBody.of(call.body)
    match sent.action:
        case "list":
            result: Any = [card.name for card in await call.host.models()]
        case "info":
            result = _info(call.loaded())
        case "load":
            require_admin(call.caller)
            if not sent.model_name:
                raise InvalidParameter("model_name", "must say which model to load.")
            result = _info(await call.host.load(sent.model_name, sent.args))
        case "unload":
            require_admin(call.caller)
            await call.host.unload()
            result = _info(None)
        case _:
            return await model(call)
    return Json({"result": result}, headers=OOBA.headers)


def _info(card: ModelCard | None) -> dict[str, Any]:
    return {
        "model_name": card.name if card else None,
        "lora_names": [],
        "shared.settings": {"truncation_length": card.context_len if card else 0, "mode": "chat", "instruction_template": None},
        "shared.args": {"model": card.name if card else None, **(card.details if card else {})},
    }


def _results(result: dict[str, Any]) -> dict[str, Any]:
    return {"results": [result]}


def routes() -> list[Route]:
    model_path = "/api/v1/model"
    return [
        Route("POST", "/api/v1/generate", OOBA, Auth.KEY, generate, "Goes on with a text.", GenerateBody, sampling=True),
        Route("POST", "/api/v1/chat", OOBA, Auth.KEY, chat, "Answers a chat.", ChatBody, sampling=True),
        Route("POST", "/api/v1/token-count", OOBA, Auth.KEY, token_count, "How many tokens a text is.", TokenCountBody),
        Route("POST", "/api/v1/stop-stream", OOBA, Auth.KEY, stop_stream, "Ends what the caller has running."),
        Route("GET", model_path, OOBA, Auth.KEY, model, "The loaded model's name."),
        Route("POST", model_path, OOBA, Auth.KEY, model_action, "Loads, unloads and lists models.", ModelBody),
    ]
