"""The templates of well-known models: what is told from them, and that the calls they write are read back.

They are llama.cpp's collection, out of its source distribution; without a network the tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from publican.core.request import ChatPrompt, Message, Request, Wanted
from publican.host.answers.reading import reading_of
from publican.host.templates import ChatTemplates
from tests.host.answers.asked import ROLL, WEATHER, calling, read
from tests.host.tokenizer.real_files import llama_cpp_models

MODELS = {
    "Apertus-8B-Instruct": "apertus",
    "ByteDance-Seed-OSS": "seed",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command-r",
    "GLM-4.6": "glm",
    "GigaChat3-10B-A1.8B": "gigachat3",
    "GigaChat3.1-10B-A1.8B": "gigachat3.1",
    "HuggingFaceTB-SmolLM3-3B": "hermes",
    "LFM2.5-8B-A1B": "lfm2",
    "MiniMax-M2": "minimax",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen3-coder",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3-coder",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-v3.1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-v3.2",
    "deepseek-ai-DeepSeek-V4": "deepseek-v4",
    "google-gemma-2-2b-it": "hermes",
    "google-gemma-4-31B-it": "gemma4",
    "ibm-granite-granite-4.0": "hermes",
    "meetkai-functionary-medium-v3.1": "functionary",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama3",
    "microsoft-Phi-3.5-mini-instruct": "hermes",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-list",
    "moonshotai-Kimi-K2": "kimi",
    "openai-gpt-oss-120b": "gpt-oss",
    "openbmb-MiniCPM5-1B": "minicpm5",
}
THOUGHTS = {
    "Qwen-Qwen3-0.6B": ("<think>", None),
    "Qwen3.5-4B": ("<think>", "<think>"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ("<think>", "<think>"),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("[THINK]", None),
    "ByteDance-Seed-OSS": ("<seed:think>", None),
    "google-gemma-4-31B-it": ("<|channel>thought", None),
    "Qwen-Qwen2.5-7B-Instruct": (None, None),
}
ID = "abcdef123"
CALL = {"id": ID, "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Zürich", "days": 3}'}}
ASKED = (Message("user", "Weather?"),)
CALLED = (
    *ASKED,
    Message("assistant", "", {"tool_calls": [CALL]}),
    Message("tool", "SUNNY", {"tool_call_id": ID, "name": "get_weather"}),
)


@pytest.fixture(scope="module")
def folder() -> Path:
    return llama_cpp_models() / "templates"


def templates(folder: Path, model: str) -> ChatTemplates:
    return ChatTemplates({"default": (folder / f"{model}.jinja").read_text()}, "<s>", "</s>", "chatml")


@pytest.mark.parametrize("model", MODELS)
def test_calls_that_a_template_writes_are_read(folder: Path, model: str) -> None:
    it = templates(folder, model)
    asked = ChatPrompt(ASKED, tools=(WEATHER, ROLL))
    assert it.style(asked).format.name == MODELS[model]
    assert "get_weather" in it.render(asked), "the model is told what it can call"
    written = it.render(ChatPrompt(CALLED, tools=(WEATHER, ROLL)))
    written = written[: written.rindex("SUNNY")]
    bare = it.render(ChatPrompt(ASKED, tools=(WEATHER, ROLL), variables={"add_generation_prompt": False}))
    same = next((i for i, (a, b) in enumerate(zip(bare, written, strict=False)) if a != b), len(bare))
    format = it.style(asked).format
    found = read(calling(format, most_calls=1), [written[same:].lstrip() if format.bare else written[same:]])
    if format.bare and not found.calls:  # behind the turn's header, where an answer begins
        found = read(calling(format, most_calls=1), [written[written.rindex('{"name"') :]])
    assert [(call[0], json.loads(call[1])) for call in found.calls.values()] == [("get_weather", {"city": "Zürich", "days": 3})]


@pytest.mark.parametrize("model", THOUGHTS)
def test_thoughts_that_a_template_knows(folder: Path, model: str) -> None:
    it, prompt = templates(folder, model), ChatPrompt(ASKED)
    start, opened = THOUGHTS[model]
    style = it.style(prompt)
    assert [tags.start for tags in style.tags] == ([start] if start else [])
    reading = reading_of(Request(prompt, wanted=Wanted(split_reasoning=True)), prompt, style, it.render(prompt))
    assert reading is not None
    assert (reading.opened.start if reading.opened else None) == opened
