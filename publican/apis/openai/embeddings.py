"""Embeddings as OpenAI writes them. Pure."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from publican.apis.openai.schema import EmbeddingsBody
from publican.apis.openai.translate import prompts_of
from publican.apis.vectors import shortened
from publican.core.backend import Embeddings
from publican.core.request import Prompt


def prompts(sent: EmbeddingsBody, max_prompts: int) -> tuple[Prompt, ...]:
    """POST /v1/embeddings. Raises InvalidRequest."""
    return tuple(prompts_of(sent.input, add_bos=True, max_prompts=max_prompts, name="input"))


def answer(sent: EmbeddingsBody, made: Embeddings, model: str) -> dict[str, Any]:
    """The list that clients expect. Raises InvalidParameter if fewer dimensions are there than were asked for."""
    vectors = (shortened(vector, sent.dimensions) for vector in made.vectors)
    written = (_base64(vector) if sent.encoding_format == "base64" else vector for vector in vectors)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(written)]
    usage = {"prompt_tokens": made.num_tokens, "total_tokens": made.num_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
