"""What llama.cpp's server says of itself and its model. Pure."""

from __future__ import annotations

from typing import Any

from publican.apis.llamacpp.settings import sampling_settings
from publican.core.backend import ModelCard, Status
from publican.core.model_info import ModelInfo
from publican.core.sampling.wire import sampling_params


def props(card: ModelCard, info: ModelInfo, status: Status) -> dict[str, Any]:
    """Clients take the length of the context and the chat template from here."""
    params = sampling_settings(sampling_params("llamacpp", {}))
    return {
        "default_generation_settings": {"id": 0, "n_ctx": card.context_len, "is_processing": False, "params": params},
        "total_slots": max(1, status.num_slots),
        "model_path": card.name,
        "model_alias": card.name,
        "chat_template": info.chat_template,
        "chat_template_caps": {},
        "modalities": {"vision": False, "audio": False},
        "bos_token": info.bos,
        "eos_token": info.eos,
        "build_info": "publican",
        "n_ctx": card.context_len,
        "is_sleeping": False,
    }


def slots(card: ModelCard | None, status: Status) -> list[dict[str, Any]]:
    """One for each answer that can be computed at once. Which slot an answer has means nothing here; how many are busy does."""
    count = max(status.num_slots, status.num_running, 1)
    n_ctx = card.context_len if card else 0
    return [{"id": at, "id_task": -1, "n_ctx": n_ctx, "is_processing": at < status.num_running} for at in range(count)]
