"""A real model that makes vectors: MiniLM as a GGUF in libllama, through the host, against transformers with its own files."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from publican.core.errors import PromptTooLong, Unsupported
from publican.core.request import Request, TextPrompt, TokenPrompt
from publican.host.fit_check import check
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.tokenizer import load_tokenizer
from publican.host.worker_process import WorkerPort
from publican.store.catalogue import find_model
from publican.store.checkpoint import open_checkpoint
from tests.host.minilm import fetch, write_gguf

pytest.importorskip("llama_cpp")

TEXTS = [
    "A cat sits on the mat.",
    "Die Straße in Ångström: naïve café, 東京タワー, $5.00 — don't!  Tabs\tand\nlines.",
    "unaffable " * 60,
    "Zażółć gęślą jaźń; e\u0301 and \u00e9 are one; the " + "x" * 120 + " is unknown.",
    "",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch(Path.home() / ".cache" / "publican-tests")


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(folder, tmp_path_factory.mktemp("minilm") / "minilm.gguf")


def test_its_words_are_cut_as_its_own_tokenizer_cuts_them(folder, model):
    tokenizers = pytest.importorskip("tokenizers")
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    ours = load_tokenizer(open_checkpoint(model))
    for text in TEXTS:
        expected = own.encode(text).ids
        assert [*ours.encode(text), 102] == expected, text
    assert ours.decode(ours.encode("hello world")).strip() == "hello world"


def test_its_vectors_are_those_of_transformers(folder, model, tmp_path):
    asyncio.run(asyncio.wait_for(_vectors(folder, model, tmp_path), 60))


async def _vectors(folder: Path, model: Path, models_folder: Path) -> None:
    library = ModelLibrary(models_folder, LoadOptions(threads=2), ThreadPort, 8)
    host = ModelHost(library)
    (models_folder / "minilm.gguf").symlink_to(model)
    card = await host.load("minilm", {})
    try:
        assert (card.context_len, card.writes, card.embeds) == (512, False, True)
        assert (await host.describe()).for_vectors
        made = await host.embed(tuple(TextPrompt(text) for text in TEXTS))
        expected, num_tokens = in_transformers(folder)
        assert made.num_tokens == num_tokens
        for text, ours, theirs in zip(TEXTS, made.vectors, expected, strict=True):
            assert cosine_of(ours, theirs) > 0.9999, text
        assert np.allclose(made.vectors[0], expected[0], atol=2e-3)
        (of_tokens,) = (await host.embed((TokenPrompt((101, 1037, 4937, 102)),))).vectors
        assert len(of_tokens) == 384
        long = TextPrompt("word " * 600)
        assert (await host.embed((long,), truncate=True)).num_tokens == 512
        with pytest.raises(PromptTooLong):
            await host.embed((long,))
        with pytest.raises(Unsupported, match="vectors"):
            await host.generate(Request(TextPrompt("Once upon a time")))
    finally:
        await host.unload()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_it_holds_is_within_a_tenth_of_the_plan(model: Path, tmp_path: Path):
    stored = find_model(str(model), tmp_path, allow_path=True)
    library = ModelLibrary(tmp_path, LoadOptions(threads=2), WorkerPort, 8)
    (memory,) = asyncio.run(asyncio.wait_for(check(library, stored, LoadOptions(threads=2)), 60)).measured
    assert abs(memory.error) < 0.10, str(memory)


def in_transformers(folder: Path) -> tuple[list[np.ndarray], int]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    vectors, num_tokens = [], 0
    with torch.inference_mode():
        for text in TEXTS:
            tokens = tokenizer(text, return_tensors="pt")
            num_tokens += tokens["input_ids"].shape[1]
            vectors.append(model(**tokens).last_hidden_state[0].mean(0).numpy())
    return vectors, num_tokens


def cosine_of(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
