"""What Ollama's clients are told of models."""

from __future__ import annotations

from dataclasses import replace

from publican.apis.ollama.models import capabilities
from publican.core.model_info import ModelInfo
from tests.apis.fake_host import TINY


def test_what_a_model_can_do() -> None:
    assert capabilities(TINY) == ["completion", "tools", "insert"]
    assert capabilities(ModelInfo("m", "gguf", chat_template="{{ enable_thinking }}")) == ["completion", "thinking"]


def test_one_that_was_made_for_vectors_is_offered_for_nothing_else() -> None:
    assert capabilities(replace(TINY, for_vectors=True)) == ["embedding"]
