"""``/v1/internal``: tokens, models, stopping. Event loop only."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from publican.apis.dialect import Auth, Handler, Route
from publican.apis.fields import token_ids
from publican.apis.ooba_openai import translate
from publican.apis.ooba_openai.errors import OOBA_OPENAI
from publican.apis.ooba_openai.schema import LoadBody, LogitsBody, LoraBody, TextBody, TokensBody
from publican.apis.openai.schema import ChatBody
from publican.apis.openai.translate import chat_prompt
from publican.apis.patience import Patient
from publican.apis.respond import Json, WholeAnswer
from publican.apis.server import Call
from publican.core.errors import Unsupported
from publican.core.ids import TokenId
from publican.core.request import TextPrompt


async def health(call: Call) -> ASGIApp:
    return Json({"status": "ok"})


async def encode(call: Call) -> ASGIApp:
    tokens = await _tokens(call)
    return Json({"tokens": list(tokens), "length": len(tokens)})


async def token_count(call: Call) -> ASGIApp:
    return Json({"length": len(await _tokens(call))})


async def _tokens(call: Call) -> tuple[TokenId, ...]:
    sent = TextBody.of(call.body)
    return await call.host.tokenize(TextPrompt(sent.text, sent.add_bos_token))


async def decode(call: Call) -> ASGIApp:
    return Json({"text": await call.host.detokenize(token_ids("tokens", TokensBody.of(call.body).tokens))})


async def logits(call: Call) -> ASGIApp:
    return WholeAnswer(call, [translate.logits(call.body, call.asking)], translate.probabilities)


async def show_prompt(call: Call) -> ASGIApp:
    sent = ChatBody.of(call.body)
    return Json({"prompt": await call.host.render(chat_prompt(sent), sent.model or None)})


async def stop(call: Call) -> ASGIApp:
    call.host.stop(call.caller)
    return Json("OK")


async def model_info(call: Call) -> ASGIApp:
    return Json(translate.info(call.loaded()))


async def model_list(call: Call) -> ASGIApp:
    return Json({"model_names": [card.name for card in await call.host.models()]})


async def model_load(call: Call) -> ASGIApp:
    sent = LoadBody.of(call.body)
    return Patient(call, call.host.load(sent.model_name, sent.args), lambda card: "OK")


async def model_unload(call: Call) -> ASGIApp:
    return Patient(call, call.host.unload(), lambda nothing: "OK")


async def lora_list(call: Call) -> ASGIApp:
    card = call.loaded()
    return Json({"lora_names": list(card.adapters) if card else []})


async def lora_load(call: Call) -> ASGIApp:
    if LoraBody.of(call.body).lora_names:
        raise Unsupported("lora_names: adapters are loaded with --lora, and each request names its own as its model.")
    return Json("OK")


def _fixed(value: Any) -> Handler:
    async def answer(call: Call) -> ASGIApp:
        return Json(value)

    return answer


def routes() -> list[Route]:
    own, key, admin = OOBA_OPENAI, Auth.KEY, Auth.ADMIN
    at = "/v1/internal"
    return [
        Route("GET", f"{at}/health", own, key, health, "Whether the server is there."),
        Route("POST", f"{at}/encode", own, key, encode, "A text as tokens.", TextBody),
        Route("POST", f"{at}/decode", own, key, decode, "Tokens as a text.", TokensBody),
        Route("POST", f"{at}/token-count", own, key, token_count, "How many tokens a text is.", TextBody),
        Route("POST", f"{at}/logits", own, key, logits, "The likeliest next tokens.", LogitsBody, sampling=True),
        Route("POST", f"{at}/chat-prompt", own, key, show_prompt, "A chat as the model sees it.", ChatBody),
        Route("POST", f"{at}/stop-generation", own, key, stop, "Ends what the caller has running."),
        Route("GET", f"{at}/model/info", own, key, model_info, "The loaded model."),
        Route("GET", f"{at}/model/list", own, admin, model_list, "The models that are here."),
        Route("POST", f"{at}/model/load", own, admin, model_load, "Loads a model.", LoadBody),
        Route("POST", f"{at}/model/unload", own, admin, model_unload, "Frees the model."),
        Route("GET", f"{at}/lora/list", own, admin, lora_list, "The adapters that requests may name as their model."),
        Route("POST", f"{at}/lora/load", own, admin, lora_load, "Refuses adapters.", LoraBody, bodiless=True),
        Route("POST", f"{at}/lora/unload", own, admin, _fixed("OK"), "Has nothing to do."),
    ]
