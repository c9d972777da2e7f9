"""TabbyAPI's routes. Event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Route
from publican.apis.fields import token_ids
from publican.apis.patience import Patient, ProgressAnswer, retrieve
from publican.apis.respond import Json
from publican.apis.server import Call
from publican.apis.tabby import translate
from publican.apis.tabby.errors import TABBY
from publican.apis.tabby.schema import DecodeBody, DownloadBody, EncodeBody, LoadBody
from publican.core.backend import Host
from publican.core.errors import ModelNotFound


async def models(call: Call) -> ASGIApp:
    """A friend sees what is loaded, an admin what could be."""
    shown = [card for card in await call.host.models() if card.loaded or call.caller.admin]
    return Json({"object": "list", "data": [translate.card(card) for card in shown]})


async def model(call: Call) -> ASGIApp:
    card = call.loaded()
    if card is None:
        raise ModelNotFound("", tuple(one.name for one in await call.host.models()))
    info = await call.host.describe(None)
    return Json(translate.card(card, translate.parameters(card, info, call.host.status())))


async def load(call: Call) -> ASGIApp:
    name, options = translate.load(call.body)
    return ProgressAnswer(call, loading(call.host, name, options), translate.LoadStream())


async def loading(host: Host, name: str, options: dict[str, Any]) -> AsyncIterator[translate.Part]:
    """The parts of `name` as they are loaded. Closing it early stops nothing: half a model is of no use to anybody."""
    parts: asyncio.Queue[translate.Part | None] = asyncio.Queue()
    work = asyncio.ensure_future(host.load(name, options, lambda done, total: parts.put_nowait(translate.Part(done, total))))
    work.add_done_callback(retrieve)  # nobody may be left to hear of it
    work.add_done_callback(lambda _: parts.put_nowait(None))
    while (part := await parts.get()) is not None:
        yield part
    work.result()


async def unload(call: Call) -> ASGIApp:
    return Patient(call, call.host.unload(), lambda nothing: None)


async def encode(call: Call) -> ASGIApp:
    tokens = await call.host.tokenize(translate.encode(call.body))
    return Json({"tokens": list(tokens), "length": len(tokens)})


async def decode(call: Call) -> ASGIApp:
    return Json({"text": await call.host.detokenize(token_ids("tokens", DecodeBody.of(call.body).tokens))})


async def permission(call: Call) -> ASGIApp:
    return Json({"permission": "admin" if call.caller.admin else "api"})


async def download(call: Call) -> ASGIApp:
    sent = DownloadBody.of(call.body)
    source = f"{sent.repo_id}@{sent.revision}" if sent.revision else sent.repo_id

    async def pulled() -> str:
        async for _ in call.host.pull(source):
            pass
        return sent.repo_id

    return Patient(call, pulled(), lambda name: {"download_path": name})


async def templates(call: Call) -> ASGIApp:
    names = (await call.host.describe(None)).templates if call.loaded() else ()
    return Json({"object": "list", "data": list(names)})


async def presets(call: Call) -> ASGIApp:
    return Json({"selected": None, "overrides": {}, "presets": list(call.server.config.presets.names())})


async def loras(call: Call) -> ASGIApp:
    card = call.loaded()
    names = card.adapters if card else ()
    return Json({"object": "list", "data": [{"id": name, "object": "lora", "scaling": 1.0} for name in names]})


def routes() -> list[Route]:
    key, admin = Auth.KEY, Auth.ADMIN
    return [
        Route("GET", "/v1/model", TABBY, key, model, "The loaded model, and what it runs with."),
        Route("GET", "/v1/model/list", TABBY, key, models, "The models that a key may see."),
        Route("POST", "/v1/model/load", TABBY, admin, load, "Loads a model, and says how far it is.", LoadBody),
        Route("POST", "/v1/model/unload", TABBY, admin, unload, "Frees the model."),
        Route("POST", "/v1/token/encode", TABBY, key, encode, "A text or a chat as tokens.", EncodeBody),
        Route("POST", "/v1/token/decode", TABBY, key, decode, "Tokens as a text.", DecodeBody),
        Route("GET", "/v1/auth/permission", TABBY, key, permission, "What the caller may do."),
        Route("POST", "/v1/download", TABBY, admin, download, "Downloads a model.", DownloadBody),
        Route("GET", "/v1/loras", TABBY, key, loras, "The adapters that requests may name as their model."),
        Route("GET", "/v1/lora", TABBY, key, loras, "The same."),
        Route("GET", "/v1/template/list", TABBY, key, templates, "The templates that a request may name."),
        Route("GET", "/v1/sampling/override/list", TABBY, key, presets, "The sampler presets."),
    ]
