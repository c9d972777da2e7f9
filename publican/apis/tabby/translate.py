"""What TabbyAPI's clients send and read, from and to `core`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from publican.apis import sse
from publican.apis.messages import messages_of
from publican.apis.tabby.errors import error_body
from publican.apis.tabby.schema import EncodeBody, LoadBody
from publican.core.backend import ModelCard, Status
from publican.core.errors import InvalidParameter, PublicanError
from publican.core.model_info import ModelInfo
from publican.core.request import ChatPrompt, Prompt, TextPrompt

_CACHE_MODES = {"q8": "Q8", "q4": "Q4"}
"""How keys and values are kept, where it is not in 16 bits or more."""


def encode(body: Mapping[str, Any]) -> Prompt:
    """POST /v1/token/encode. Raises InvalidRequest."""
    sent = EncodeBody.of(body)
    if isinstance(sent.text, str):
        return TextPrompt(sent.text, sent.add_bos_token)
    if not isinstance(sent.text, list) or not sent.text:
        raise InvalidParameter("text", "must be a text or a list of messages.")
    return ChatPrompt(messages_of(sent.text, "text"))


def load(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """POST /v1/model/load: the model and the options of its loader. Raises InvalidRequest."""
    sent = LoadBody.of(body)
    options = {**(sent.model_extra or {}), "max_seq_len": sent.max_seq_len}
    return sent.model_name, {name: value for name, value in options.items() if value is not None}


def card(model: ModelCard, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_s,
        "owned_by": "tabbyAPI",
        "logging": None,
        "parameters": parameters,
    }


def parameters(model: ModelCard, info: ModelInfo, status: Status) -> dict[str, Any]:
    """What the loaded model runs with, as far as there are words for it."""
    draft = model.details.get("draft")
    return {
        "max_seq_len": model.context_len,
        "cache_size": model.details.get("cache_len") or model.context_len,
        "cache_mode": _CACHE_MODES.get(str(model.details.get("cache_type")), "FP16"),
        "rope_scale": None,
        "rope_alpha": None,
        "max_batch_size": status.num_slots or None,
        "chunk_size": model.details.get("chunk_len"),
        "prompt_template": "from the model" if info.chat_template else None,
        "prompt_template_content": info.chat_template or None,
        "use_vision": False,
        "draft": card(ModelCard(draft, model.context_len, True, model.created_s)) if draft else None,
    }


class Part(NamedTuple):
    """`done` of `total` parts of a model are loaded."""

    done: int
    total: int


class LoadStream:
    """Follows `patience.Saying`: the parts of a model as they are loaded."""

    media_type = sse.MEDIA_TYPE

    def __init__(self) -> None:
        self._newest = Part(1, 1)

    def step(self, part: Part) -> bytes:
        self._newest = part
        return self._event(part, "processing")

    def ended(self) -> bytes:
        return self._event(Part(self._newest.total, self._newest.total), "finished")

    def failed(self, error: PublicanError) -> bytes:
        return sse.event({"error": error_body(error, 500)["error"]}).encode("ascii")

    def waiting(self) -> bytes:
        return sse.comment(None)

    def _event(self, part: Part, status: str) -> bytes:
        value = {"model_type": "model", "module": part.done, "modules": part.total, "status": status}
        return sse.event(value).encode("ascii")
