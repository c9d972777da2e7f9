"""llama.cpp's routes. ``/tokenize`` is shared with vLLM and TGI, and here what the others leave is read. Event loop only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from publican.apis import house
from publican.apis.dialect import Auth, Route
from publican.apis.fields import token_ids
from publican.apis.infill import infill_prompt
from publican.apis.llamacpp import info, translate
from publican.apis.llamacpp.answers import Answer
from publican.apis.llamacpp.errors import LLAMACPP
from publican.apis.llamacpp.schema import (
    CompletionBody,
    DetokenizeBody,
    EmbeddingBody,
    InfillBody,
    TemplateBody,
    TokenizeBody,
)
from publican.apis.openai.translate import chat_prompt, prompts_of
from publican.apis.patience import Patient
from publican.apis.respond import Json, StreamAnswer, WholeAnswer
from publican.apis.server import Call
from publican.apis.vectors import normalised
from publican.core.backend import Embeddings
from publican.core.errors import ModelNotFound, Overloaded, Unsupported
from publican.core.ids import TokenId
from publican.core.request import Request, TextPrompt, TokenPrompt

# --- generating


async def completion(call: Call) -> ASGIApp:
    asked = translate.completion(call.body, call.asking)
    requests = [
        request if parts is None else replace(request, prompt=TokenPrompt(await _joined(call, parts, True)))
        for request, parts in zip(asked.requests, asked.parts, strict=True)
    ]
    return _answer(call, requests, asked.shape)


async def infill(call: Call) -> ASGIApp:
    request, hole, shape = translate.infill(call.body, call.asking)
    prompt = await infill_prompt(call.host, hole.before, hole.behind, request.model)
    begun = await call.host.tokenize(TextPrompt(hole.begun, add_bos=False), request.model) if hole.begun else ()
    return _answer(call, [replace(request, prompt=TokenPrompt((*prompt.tokens, *begun)))], shape)


def _answer(call: Call, requests: list[Request], shape: translate.Shape) -> ASGIApp:
    answer = Answer(requests, shape, call.server.model_name(requests[0].model))
    return StreamAnswer(call, requests, answer) if shape.stream else WholeAnswer(call, requests, answer.whole)


async def _joined(call: Call, parts: translate.Parts, add_bos: bool) -> tuple[TokenId, ...]:
    """The tokens of `parts`. Only the first text may have the beginning-of-sequence token before it."""
    tokens: list[TokenId] = []
    for part in parts:
        if isinstance(part, str):
            tokens += await call.host.tokenize(TextPrompt(part, add_bos=add_bos and not tokens))
        else:
            tokens += part
    return tuple(tokens)


# --- tokens


async def tokenize(call: Call) -> ASGIApp:
    sent = TokenizeBody.of(call.body)
    parts = translate.parts_of("content", sent.content) if sent.content != [] else ()
    tokens = await _joined(call, parts, sent.add_special)
    if not sent.with_pieces:
        return Json({"tokens": list(tokens)})
    pieces = await call.host.pieces(tokens)
    return Json({"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in zip(tokens, pieces, strict=True)]})


def _piece(piece: bytes) -> str | list[int]:
    """A text; or bytes, where it is half a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


async def detokenize(call: Call) -> ASGIApp:
    """The same question has two answers: llama.cpp's clients read `content`, vLLM's `prompt`."""
    text = await call.host.detokenize(token_ids("tokens", DetokenizeBody.of(call.body).tokens))
    return Json({"content": text, "prompt": text})


async def apply_template(call: Call) -> ASGIApp:
    return Json({"prompt": await call.host.render(chat_prompt(TemplateBody.of(call.body)))})


async def embedding(call: Call) -> ASGIApp:
    sent = EmbeddingBody.of(call.body)
    prompts = tuple(prompts_of(sent.content, add_bos=True, max_prompts=call.server.config.max_prompts, name="content"))

    def render(made: Embeddings) -> list[dict[str, Any]]:
        vectors = [normalised(vector, sent.embd_normalize) for vector in made.vectors]
        return [{"index": index, "embedding": [vector]} for index, vector in enumerate(vectors)]

    return Patient(call, call.host.embed(prompts), render)


# --- the server and its model


async def props(call: Call) -> ASGIApp:
    card = call.loaded()
    if card is None:
        raise ModelNotFound("", tuple(one.name for one in await call.host.models()))
    return Json(info.props(card, await call.host.describe(None), call.host.status()))


async def slots(call: Call) -> ASGIApp:
    found = info.slots(call.loaded(), call.host.status())
    if call.query.get("fail_on_no_slot") and all(slot["is_processing"] for slot in found):
        raise Overloaded("No slot is free; try again in a moment.", 1)
    return Json(found)


async def slot_action(call: Call) -> ASGIApp:
    raise Unsupported("Slots are not kept by hand here: what prompts share is found again by itself.")


async def lora_adapters(call: Call) -> ASGIApp:
    """Scale 0, for none is applied to who does not ask for it; where they lie on this machine is nobody's business."""
    card = call.loaded()
    return Json([{"id": id, "path": name, "scale": 0.0} for id, name in enumerate(card.adapters if card else ())])


async def set_props(call: Call) -> ASGIApp:
    raise Unsupported("Nothing can be changed here; say what you want in each request.")


def routes() -> list[Route]:
    own, key = LLAMACPP, Auth.KEY
    goes_on = "Goes on with a text."
    return [
        Route("POST", "/completion", own, key, completion, goes_on, CompletionBody, sampling=True),
        Route("POST", "/completions", own, key, completion, "The same.", CompletionBody, sampling=True),
        Route("POST", "/infill", own, key, infill, "Fills a hole in a text.", InfillBody, sampling=True),
        Route("POST", "/tokenize", own, key, tokenize, "A text as tokens.", TokenizeBody, bodiless=True),
        Route("POST", "/detokenize", own, key, detokenize, "Tokens as a text.", DetokenizeBody),
        Route("POST", "/apply-template", own, key, apply_template, "A chat as the model sees it.", TemplateBody),
        Route("POST", "/embedding", own, key, embedding, "Texts as vectors.", EmbeddingBody),
        Route("POST", "/embeddings", own, key, embedding, "The same.", EmbeddingBody),
        Route("GET", "/props", own, key, props, "The model, its context and its chat template."),
        Route("POST", "/props", own, Auth.ADMIN, set_props, "Refuses: nothing is set for everybody."),
        Route("GET", "/slots", own, key, slots, "How many answers are being computed."),
        Route("POST", "/slots/{id}", own, key, slot_action, "Refuses: the cache keeps itself."),
        Route("GET", "/lora-adapters", own, key, lora_adapters, "The adapters that requests may choose by number."),
        Route("GET", "/v1/health", own, Auth.OPEN, house.health, "Whether the model can be asked."),
    ]
