"""The dialects by name, and which of them agree with one another."""

from __future__ import annotations

from collections.abc import Iterable

from publican.core.parameters import Wire

DIALECTS = (
    "openai",
    "ooba",
    "ooba_openai",
    "kobold",
    "llamacpp",
    "tabby",
    "aphrodite",
    "vllm",
    "tgi",
    "ollama",
    "anthropic",
)
"""Every dialect. ``ooba`` is text-generation-webui's API of 2023, ``ooba_openai`` is the one it has today."""

OOBA = ("ooba", "ooba_openai")

MINUS_ONE_IS_OFF = ("openai", *OOBA, "tabby", "aphrodite", "vllm")
"""Their clients send ``top_k: -1`` for "all tokens"."""

OUTPUT_ONLY = ("openai", "aphrodite", "vllm", "anthropic")
"""They count presence and frequency over what was generated, as OpenAI defines it."""


def everywhere(dialects: Iterable[str], wire: Wire) -> dict[str, Wire]:
    """The same difference in several dialects."""
    return dict.fromkeys(dialects, wire)
