"""A model of bge-m3's kind (XLM-RoBERTa, Unigram) as a GGUF in libllama, through the host, against transformers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

from publican.core.errors import Unsupported
from publican.core.request import Request, TextPrompt
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from tests.executors.native.tiny import quiet
from tests.host.minilm import tensor_name
from tests.host.test_minilm import cosine_of
from tests.host.tokenizer.test_unigram import CHARACTERS, pieces
from tests.host.tokenizer.unigram_files import add_vocabulary

pytest.importorskip("llama_cpp")

TEXTS = ["A cat sits on the mat.", "Größe und 東京, naïve ﬁne…", "the " * 20, ""]
_SIZE, _PAD, _MOST = 64, 1, 128


def make() -> Any:
    quiet()
    torch.manual_seed(11)
    shape = transformers.XLMRobertaConfig(
        vocab_size=len(pieces()),
        hidden_size=_SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * _SIZE,
        max_position_embeddings=_MOST + _PAD + 1,
        type_vocab_size=1,
        pad_token_id=_PAD,
        layer_norm_eps=1e-5,
    )
    model = transformers.XLMRobertaModel(shape, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def write(model: Any, path: Path) -> Path:
    """Positions are counted from behind the padding's, which the file leaves out."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(_MOST)
    writer.add_embedding_length(_SIZE)
    writer.add_feed_forward_length(2 * _SIZE)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.CLS)
    writer.add_token_type_count(1)
    add_vocabulary(writer, pieces(), CHARACTERS)
    for name, values in model.state_dict().items():
        rows = values.numpy().astype(np.float32)
        if "position_embeddings" in name:
            rows = rows[_PAD + 1 :]
        writer.add_tensor(tensor_name(name), rows)
    for end in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        end()
    return path


def test_its_vectors_are_those_of_transformers(tmp_path: Path) -> None:
    model = make()
    write(model, tmp_path / "bge.gguf")

    async def main() -> None:
        host = ModelHost(ModelLibrary(tmp_path, LoadOptions(threads=1), ThreadPort, 8))
        await host.load("bge", {})
        try:
            made = await host.embed(tuple(TextPrompt(text) for text in TEXTS))
            num_tokens = 0
            for text, ours in zip(TEXTS, made.vectors, strict=True):
                tokens = [*await host.tokenize(TextPrompt(text)), 2]
                assert tokens[0] == 0
                num_tokens += len(tokens)
                with torch.no_grad():
                    theirs = model(torch.tensor([tokens])).last_hidden_state[0, 0].numpy()
                assert np.allclose(ours, theirs, atol=1e-2), text
                assert cosine_of(ours, theirs) > 0.99999, text
            assert made.num_tokens == num_tokens
            assert (await host.describe()).for_vectors
            with pytest.raises(Unsupported, match="vectors"):
                await host.generate(Request(TextPrompt("Once upon a time")))
        finally:
            await host.unload()

    asyncio.run(asyncio.wait_for(main(), 60))
