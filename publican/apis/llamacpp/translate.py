"""llama.cpp's bodies to requests. Pure: raises what is wrong with a body, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from publican.apis.asking import Asking
from publican.apis.fields import refuse_unsupported, sampling_from, token_ids
from publican.apis.formats import with_format
from publican.apis.llamacpp.schema import CompletionBody, InfillBody
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.ids import TokenId
from publican.core.request import Prompt, Request, Stopping, TextPrompt, TokenPrompt, Wanted, new_request_id

NAME = "llamacpp"
MAX_PARTS = 10_000

_UNSUPPORTED = {
    "t_max_predict_ms": lambda value: isinstance(value, int | float) and value > 0,
}
"""What an answer must not silently do without."""

Parts = tuple[str | tuple[TokenId, ...], ...]
"""A prompt of texts and tokens, which only a tokenizer can join."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the caller wants the answer written down.

    Attributes:
        every_token: one event for each token, because each has probabilities.
        as_list: whether there are several answers, which are a list.
        processed: whether probabilities are those of the distribution drawn from; then they are no logarithms.
        fields: what alone is wanted of an answer; empty is everything.
    """

    stream: bool
    every_token: bool
    as_list: bool
    processed: bool
    return_tokens: bool
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood: one request for each prompt; `parts` are their prompts where they are not ready yet."""

    requests: tuple[Request, ...]
    parts: tuple[Parts | None, ...]
    shape: Shape


def completion(body: Mapping[str, Any], asking: Asking) -> Asked:
    """POST /completion. Raises InvalidRequest."""
    sent = CompletionBody.of(body)
    prompts = _prompts(sent.prompt, asking.max_prompts)
    first = _request(_ready(prompts[0]), body, sent, asking)
    others = (replace(first, prompt=_ready(parts), id=new_request_id("cmpl")) for parts in prompts[1:])
    waiting = tuple(parts if len(parts) > 1 else None for parts in prompts)
    return Asked((first, *others), waiting, _shape(sent, first, len(prompts) > 1))


@dataclass(frozen=True, slots=True)
class Hole:
    """What stands around what is to be written."""

    before: str
    behind: str
    begun: str


def infill(body: Mapping[str, Any], asking: Asking) -> tuple[Request, Hole, Shape]:
    """POST /infill: a request whose prompt is still to be made of the hole. Raises InvalidRequest."""
    sent = InfillBody.of(body)
    extra = "".join(_snippet(f"input_extra[{at}]", file) for at, file in enumerate(sent.input_extra))
    request = _request(TextPrompt(sent.input_prefix), body, sent, asking)
    return request, Hole(extra + sent.input_prefix, sent.input_suffix, sent.prompt), _shape(sent, request, False)


def _snippet(name: str, file: Mapping[str, Any]) -> str:
    """Models with marks for files of their own are few; a heading is understood by all."""
    text, title = file.get("text"), file.get("filename", "snippet")
    if not isinstance(text, str) or not isinstance(title, str):
        raise InvalidParameter(name, "must be an object with a filename and a text.")
    return f"--- {title} ---\n{text}\n\n"


def _request(prompt: Prompt, body: Mapping[str, Any], sent: CompletionBody, asking: Asking) -> Request:
    refuse_unsupported(body, _UNSUPPORTED)
    if body.get("grammar") and body.get("json_schema") is not None:
        raise InvalidParameter("grammar", "does not go together with json_schema; send one of the two.")
    stopping = Stopping(max_tokens=sent.n_predict if sent.n_predict >= 0 else None, strings=tuple(sent.stop))
    wanted = Wanted(num_choices=sent.n, logprobs=sent.n_probs or None)
    sampling = sampling_from(NAME, with_format(body), asking.presets)
    id, adapter = new_request_id("cmpl"), _adapter(sent, asking)
    return Request(prompt, sampling, stopping, wanted, sent.model or None, asking.caller, NAME, id, adapter)


def _adapter(sent: CompletionBody, asking: Asking) -> str | None:
    """The adapter of `lora`; what is not named there is not applied. None leaves it to the model's name."""
    if sent.lora and not asking.adapters:
        raise Unsupported("lora: no adapters are loaded; they are given to the server as --lora.")
    chosen = [each for each in sent.lora if each.scale != 0.0]
    for each in sent.lora:
        if not 0 <= each.id < len(asking.adapters):
            raise InvalidParameter("lora", f"there is no adapter {each.id}; GET /lora-adapters says which there are.")
    if len(chosen) > 1 or any(each.scale != 1.0 for each in chosen):
        raise Unsupported("lora: one adapter at a time is applied here, with a scale of 1.")
    if chosen:
        return asking.adapters[chosen[0].id]
    return "" if sent.lora else None


def _shape(sent: CompletionBody, request: Request, several: bool) -> Shape:
    return Shape(
        stream=sent.stream,
        every_token=sent.n_probs > 0,
        as_list=several or sent.n > 1,
        processed=request.sampling.processed_logprobs,
        return_tokens=sent.return_tokens,
        fields=tuple(sent.response_fields),
    )


# --- prompts


def _prompts(value: Any, max_prompts: int) -> list[Parts]:
    """One prompt, or a list of them. A list with a number in it is one; a list of texts alone is several."""
    if not isinstance(value, list):
        return [parts_of("prompt", value)]
    if not value:
        raise InvalidParameter("prompt", "is an empty list; send at least one prompt.")
    if any(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
        return [parts_of("prompt", value)]
    if len(value) > max_prompts:
        raise InvalidParameter("prompt", f"takes at most {max_prompts} prompts at once, got {len(value)}.")
    return [parts_of(f"prompt[{at}]", item) for at, item in enumerate(value)]


def parts_of(name: str, value: Any) -> Parts:
    """A text, a list of tokens, or a list of both; runs of tokens are joined. Raises InvalidRequest."""
    if isinstance(value, Mapping) and isinstance(value.get("prompt_string"), str):
        if value.get("multimodal_data"):
            raise Unsupported(f"{name}.multimodal_data: only text is supported by this server.")
        value = value["prompt_string"]
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise InvalidParameter(name, "must be a text, or a list of texts and token ids that is not empty.")
    runs = [list(run) for _, run in groupby(value, key=lambda item: isinstance(item, str))]
    parts: list[str | tuple[TokenId, ...]] = []
    for run in runs:
        parts.extend(run if isinstance(run[0], str) else [token_ids(name, run)])
    if len(parts) > MAX_PARTS:
        raise InvalidParameter(name, f"changes between texts and tokens more than {MAX_PARTS:,} times.")
    return tuple(parts)


def _ready(parts: Parts) -> Prompt:
    """The prompt of one part; of several it is a stand-in."""
    first = parts[0]
    return TextPrompt(first) if isinstance(first, str) else TokenPrompt(first)
