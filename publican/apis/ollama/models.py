"""Models as Ollama describes them: lists, one model whole, and how a download goes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from publican.apis import sse
from publican.apis.ollama.answers import MEDIA_TYPE, STILL_WAITING, timestamp
from publican.apis.ollama.errors import error_body
from publican.core.backend import ModelCard, PullProgress
from publican.core.errors import PublicanError
from publican.core.model_info import ModelInfo

VERSION = "0.13.0"
"""The version of Ollama whose API this follows."""

NEVER = "2318-01-01T00:00:00Z"
"""When a model is unloaded that nobody unloads."""

_MORE = {"tools": "tools", "thinking": "enable_thinking"}
"""What a model can do, and the word that its chat template then knows."""


def listed(card: ModelCard, info: ModelInfo | None) -> dict[str, Any]:
    """One model of GET /api/tags."""
    modified_s = info.modified_s if info else card.created_s
    return {**_named(card), "modified_at": timestamp(modified_s), "details": details(info)}


def running(card: ModelCard, info: ModelInfo | None) -> dict[str, Any]:
    """One model of GET /api/ps."""
    on_gpu = str(card.details.get("device", "cpu")).lower().startswith(("cuda", "gpu", "metal", "vulkan"))
    return {
        **_named(card),
        "details": details(info),
        "expires_at": NEVER,
        "size_vram": card.num_bytes if on_gpu else 0,
        "context_length": card.context_len,
    }


def _named(card: ModelCard) -> dict[str, Any]:
    """Ollama's digest is that of a manifest, which we have none of: ours stands for the files by name, size and time."""
    identity = f"{card.name}\n{card.num_bytes}\n{card.created_s}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return {"name": card.name, "model": card.name, "size": card.num_bytes, "digest": digest}


def details(info: ModelInfo | None) -> dict[str, Any]:
    family = info.architecture if info else ""
    return {
        "parent_model": "",
        "format": info.format if info else "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": number(info.num_parameters) if info else "",
        "quantization_level": info.quantization if info else "",
    }


def shown(info: ModelInfo) -> dict[str, Any]:
    """POST /api/show."""
    return {
        "license": str(info.metadata.get("general.license", "")),
        "modelfile": f"FROM {info.name}\n",
        "parameters": "",
        "template": info.chat_template,
        "details": details(info),
        "model_info": _model_info(info),
        "capabilities": capabilities(info),
        "modified_at": timestamp(info.modified_s),
    }


def capabilities(info: ModelInfo) -> list[str]:
    """Clients sort models by these, so as in Ollama one that was made for vectors is offered for nothing else."""
    if info.for_vectors:
        return ["embedding"]
    more = [name for name, word in _MORE.items() if word in info.chat_template]
    return ["completion", *more, *(["insert"] if info.infill is not None else [])]


def _model_info(info: ModelInfo) -> dict[str, Any]:
    """The header's own values, and under Ollama's names what every file says in one way or another."""
    family = info.architecture
    known: Mapping[str, Any] = {
        "general.architecture": family,
        "general.parameter_count": info.num_parameters,
        f"{family}.context_length": info.trained_context_len,
        f"{family}.embedding_length": info.hidden_size,
        f"{family}.vocab_size": info.vocab_size,
    }
    return {**{name: value for name, value in known.items() if value}, **info.metadata}


def number(count: int) -> str:
    """As Ollama writes numbers of parameters: 134.52M, 7.2B."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count else ""


class Pulling:
    """How a download is told, line by line. Follows `patience.Saying`."""

    media_type = MEDIA_TYPE

    def step(self, step: PullProgress) -> bytes:
        said: dict[str, Any] = {"status": step.text}
        if step.file:
            said |= {"digest": step.file, "total": step.total_bytes, "completed": step.num_bytes}
        return _line(said)

    def ended(self) -> bytes:
        return _line({"status": "success"})

    def failed(self, error: PublicanError) -> bytes:
        return _line(error_body(error, 0))

    def waiting(self) -> bytes:
        return STILL_WAITING


def _line(value: dict[str, Any]) -> bytes:
    return sse.compact(value).encode("ascii") + b"\n"
