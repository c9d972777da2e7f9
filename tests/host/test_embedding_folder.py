"""A folder that was made for vectors, as Qwen3-Embedding's are: no head, names without ``model.``, an end behind every text."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import processors

from publican.core.request import TextPrompt, TokenPrompt
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from tests.executors.native.tiny import quiet
from tests.host.tokenizer.folders import byte_level

TEXTS = ["the quick brown fox", "Größe and 東京", ""]


def write(folder: Path) -> Path:
    quiet()
    tokenizer = byte_level()
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    shape = transformers.Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(1)
    transformers.Qwen3Model(shape).save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"architectures": ["Qwen3ForCausalLM"]}))
    tokenizer.save(str(folder / "tokenizer.json"))
    theirs = {"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(theirs))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    return folder


def in_transformers(folder: Path) -> tuple[list[np.ndarray], int]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = [tokenizer(text)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        states = [model(torch.tensor([ids], dtype=torch.long)).last_hidden_state[0, -1].numpy() for ids in tokens]
    return states, sum(map(len, tokens))


def test_its_vectors_are_those_of_transformers(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny-embedding")
    expected, num_tokens = in_transformers(folder)

    async def main() -> None:
        host = ModelHost(ModelLibrary(tmp_path, LoadOptions(backend="plain", threads=1), ThreadPort, 8))
        assert (await host.describe("tiny-embedding")).for_vectors
        await host.load("tiny-embedding", {})
        try:
            made = await host.embed(tuple(TextPrompt(text) for text in TEXTS))
            assert made.num_tokens == num_tokens
            for ours, theirs in zip(made.vectors, expected, strict=True):
                assert np.allclose(ours, theirs, atol=1e-4)
            tokens = await host.tokenize(TextPrompt(TEXTS[0]))
            as_they_are = await host.embed((TokenPrompt(tokens),))
            assert as_they_are.num_tokens == len(tokens), "nobody puts an end behind tokens"
            assert not np.allclose(as_they_are.vectors[0], expected[0], atol=1e-2)
        finally:
            await host.unload()

    asyncio.run(asyncio.wait_for(main(), 60))
