"""Holes filled by a model that has the marks for it, from HTTP to the executor: tokens and answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import transformers

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.core.executor import StepResult
from publican.core.step import StepPlan
from publican.executors.native.executor import NativeExecutor
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from tests.apis.running import open_door
from tests.executors.native.tiny import quiet
from tests.host.tokenizer.folders import byte_level

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
BEFORE, BEHIND = "def f(x):\n    ", "\n\nprint(f(1234))"


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    quiet()
    tokenizer = byte_level()
    tokenizer.add_special_tokens(list(MARKS))
    folder = tmp_path_factory.mktemp("models") / "tiny-coder"
    shape = transformers.Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("</s>"),
    )
    torch.manual_seed(5)
    transformers.Qwen2ForCausalLM(shape).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return folder


def marked(folder: Path, before: str, behind: str, begun: str = "") -> list[int]:
    """What the model must read, by transformers' own tokenizer."""
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    prefix, suffix, middle = theirs.convert_tokens_to_ids(list(MARKS))
    first, second, third = (theirs.encode(text, add_special_tokens=False) for text in (before, behind, begun))
    return [prefix, *first, suffix, *second, middle, *third]


def continued(folder: Path, tokens: list[int], num_tokens: int) -> str:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = list(tokens)
    with torch.no_grad():
        for _ in range(num_tokens):
            text.append(int(model(torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
    return str(theirs.decode(text[len(tokens) :], skip_special_tokens=True))


ASKED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "llama.cpp": (
        "/infill",
        {"input_prefix": BEFORE, "input_suffix": BEHIND, "n_predict": 6, "temperature": 0},
        [BEFORE, BEHIND, ""],
    ),
    "llama.cpp, begun and with a file beside it": (
        "/infill",
        {
            "input_prefix": BEFORE,
            "input_suffix": BEHIND,
            "prompt": "return",
            "input_extra": [{"filename": "a.py", "text": "x = 1"}],
            "n_predict": 6,
            "temperature": 0,
        },
        ["--- a.py ---\nx = 1\n\n" + BEFORE, BEHIND, "return"],
    ),
    "OpenAI": (
        "/v1/completions",
        {"model": "any", "prompt": BEFORE, "suffix": BEHIND, "max_tokens": 6, "temperature": 0},
        [BEFORE, BEHIND, ""],
    ),
    "Ollama": (
        "/api/generate",
        {
            "model": "tiny-coder",
            "prompt": BEFORE,
            "suffix": BEHIND,
            "stream": False,
            "options": {"num_predict": 6, "temperature": 0},
        },
        [BEFORE, BEHIND, ""],
    ),
}


@pytest.mark.parametrize("dialect", ASKED)
def test_the_marks_reach_the_executor(coder: Path, dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    execute = NativeExecutor.execute

    def noting(self: NativeExecutor, plan: StepPlan) -> StepResult:
        computed.extend(token for row in plan.rows for token in row.tokens)
        return execute(self, plan)

    monkeypatch.setattr(NativeExecutor, "execute", noting)
    path, body, texts = ASKED[dialect]

    async def main() -> dict[str, Any]:
        host = ModelHost(ModelLibrary(coder.parent, LoadOptions(backend="plain", threads=1, speculate="off"), ThreadPort, 8))
        await host.load("tiny-coder", {})
        transport = httpx.ASGITransport(app=create_app(host, ApiConfig(), open_door))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                answer = await client.post(path, json=body)
        finally:
            await host.unload()
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    said = asyncio.run(asyncio.wait_for(main(), 60))
    prompt = marked(coder, *texts)
    assert computed[: len(prompt)] == prompt
    text = said["choices"][0]["text"] if "choices" in said else said.get("content", said.get("response"))
    assert text == continued(coder, prompt, 6)
    num_read = (
        said["usage"]["prompt_tokens"] if "usage" in said else said.get("tokens_evaluated", said.get("prompt_eval_count"))
    )
    assert num_read == len(prompt)
