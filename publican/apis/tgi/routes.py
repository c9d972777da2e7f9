"""TGI's routes. Event loop only.

``/generate`` and ``/tokenize`` have other owners too: `inputs` in the body says that it is TGI's. ``/health`` and ``/metrics``
are the house's, which TGI's pollers understand.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp

from publican import __version__
from publican.apis.dialect import Auth, Route, has
from publican.apis.house import health
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call
from publican.apis.tgi import answers, translate
from publican.apis.tgi.errors import TGI
from publican.apis.tgi.schema import (
    MAX_BEST_OF,
    MAX_TOP_N,
    ChatTokenizeBody,
    GenerateBody,
    TokenizeBody,
)
from publican.core.backend import ModelCard
from publican.core.request import MAX_STOP_STRINGS, TextPrompt

is_tgi = has("inputs")


async def generate(call: Call) -> ASGIApp:
    return _answer(call, translate.generate(call.body, call.asking, stream=False))


async def generate_stream(call: Call) -> ASGIApp:
    return _answer(call, translate.generate(call.body, call.asking, stream=True))


async def either(call: Call) -> ASGIApp:
    """As hosted endpoints of Hugging Face's have it: a whole answer is a list of one."""
    return _answer(call, translate.generate(call.body, call.asking, full_text=True), listed=True)


def _answer(call: Call, asked: translate.Asked, listed: bool = False) -> ASGIApp:
    if asked.stream:
        return StreamAnswer(call, [asked.request], answers.Stream(asked.shape))
    return WholeAnswer(
        call,
        [asked.request],
        lambda fold: [answers.whole(fold, asked.shape)] if listed else answers.whole(fold, asked.shape),
    )


async def tokenize(call: Call) -> ASGIApp:
    return Json(await _tokens(call, TokenizeBody.of(call.body).inputs))


async def chat_tokenize(call: Call) -> ASGIApp:
    text = await call.host.render(translate.chat(call.body))
    return Json({"tokenize_response": await _tokens(call, text), "templated_text": text})


async def _tokens(call: Call, text: str) -> list[dict[str, Any]]:
    tokens = await call.host.tokenize(TextPrompt(text))
    return await asyncio.to_thread(answers.spans, text, tokens, await call.host.pieces(tokens))


async def info(call: Call) -> ASGIApp:
    return Json(_info(call.loaded(), call.host.status().num_slots))


def _info(card: ModelCard | None, num_slots: int) -> dict[str, Any]:
    """Both generations' names; clients look for the model and the limits."""
    context_len = card.context_len if card else 0
    device = str(card.details.get("device", "cpu")) if card else "cpu"
    return {
        "model_id": card.name if card else "",
        "model_sha": None,
        "model_dtype": "",
        "model_device_type": "cuda" if "cuda" in device.lower() else "cpu",
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": num_slots,
        "max_best_of": MAX_BEST_OF,
        "max_stop_sequences": MAX_STOP_STRINGS,
        "max_top_n_tokens": MAX_TOP_N,
        "max_input_length": max(0, context_len - 1),
        "max_input_tokens": max(0, context_len - 1),
        "max_total_tokens": context_len,
        "max_client_batch_size": 1,
        "validation_workers": 1,
        "router": "publican",
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }


def routes() -> list[Route]:
    key, known = Auth.KEY, "Where each token of a text stands."
    return [
        Route("POST", "/generate", TGI, key, generate, "Goes on with a text.", GenerateBody, when=is_tgi),
        Route("POST", "/generate_stream", TGI, key, generate_stream, "The same, as it comes.", GenerateBody),
        Route("POST", "/", TGI, key, either, "One or the other.", GenerateBody),
        Route("POST", "/invocations", TGI, key, either, "The same, as Sagemaker calls it.", GenerateBody),
        Route("POST", "/tokenize", TGI, key, tokenize, known, TokenizeBody, when=is_tgi),
        Route("POST", "/chat_tokenize", TGI, key, chat_tokenize, "The same, of a chat.", ChatTokenizeBody),
        Route("GET", "/info", TGI, Auth.OPEN, info, "The model and the limits."),
        Route("GET", "/ping", TGI, Auth.OPEN, health, "Whether the model can be asked."),
    ]
