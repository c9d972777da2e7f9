"""vLLM's own routes. ``/tokenize`` and ``/generate`` are shared: the body says whose they are. Event loop only."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from publican import __version__
from publican.apis.dialect import Auth, Route, has
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call
from publican.apis.token_text import piece_name
from publican.apis.vllm import translate
from publican.apis.vllm.errors import VLLM
from publican.apis.vllm.schema import GenerateBody, TokenizeBody
from publican.core.request import TextPrompt


async def tokenize(call: Call) -> ASGIApp:
    asked = translate.tokenize(call.body)
    tokens = await call.host.tokenize(asked.prompt, asked.model)
    pieces = [piece_name(piece) for piece in await call.host.pieces(tokens, asked.model)] if asked.pieces else None
    card = call.loaded()
    answer: dict[str, Any] = {
        "count": len(tokens),
        "max_model_len": card.context_len if card else 0,
        "tokens": list(tokens),
        "token_strs": pieces,
    }
    return Json(answer)


async def version(call: Call) -> ASGIApp:
    return Json({"version": __version__})


async def generate(call: Call) -> ASGIApp:
    request, streams = translate.generate(call.body, call.asking)
    assert isinstance(request.prompt, TextPrompt)
    prompt = request.prompt.text
    if streams:
        return StreamAnswer(call, [request], translate.Cumulative(prompt, request.wanted.num_choices))
    return WholeAnswer(call, [request], lambda fold: translate.whole(prompt, fold))


def routes() -> list[Route]:
    is_ours = has("prompt", "messages")
    return [
        Route("POST", "/tokenize", VLLM, Auth.KEY, tokenize, "A text or a chat as tokens.", TokenizeBody, when=is_ours),
        Route("POST", "/v1/tokenize", VLLM, Auth.KEY, tokenize, "The same.", TokenizeBody),
        Route("GET", "/version", VLLM, Auth.OPEN, version, "This program's version."),
        Route(
            *("POST", "/generate", VLLM, Auth.KEY, generate, "Goes on with a text.", GenerateBody),
            sampling=True,
            when=has("prompt"),
        ),
    ]
