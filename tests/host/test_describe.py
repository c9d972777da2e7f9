"""What is said of a model without loading it, and what a host does with files."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from publican.core.errors import ModelNotFound, Unsupported
from publican.core.ids import TokenId
from publican.core.model import Checkpoint, TensorInfo
from publican.core.model_info import InfillTokens
from publican.core.request import ChatPrompt, Message
from publican.core.tokenizer import Vocabulary
from publican.host.describe import describe
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.templates import ChatTemplates
from publican.store.catalogue import StoredModel

STORED = StoredModel("m", Path("m.gguf"), "gguf", 1_000, 1_700_000_000.0)
TEMPLATES = ChatTemplates({"default": "{{ messages }}"}, "<s>", "</s>", "alpaca")
PLAIN = Vocabulary((b"a", b"b", b"c"))


def tensor(name: str, dtype: str, shape: tuple[int, ...], num_bytes: int) -> TensorInfo:
    return TensorInfo(name, dtype, shape, Path("m.gguf"), 0, num_bytes)


def checkpoint(**metadata: object) -> Checkpoint:
    tensors = {"a": tensor("a", "Q4_1", (8, 4), 20), "b": tensor("b", "F32", (4,), 16)}
    return Checkpoint("m", Path("m.gguf"), "gguf", None, tensors, {"general.architecture": "llama", **metadata})


def test_a_gguf_file() -> None:
    many = checkpoint(
        **{"llama.context_length": 64, "tokenizer.ggml.tokens": ["a"], "general.license": "x" * 999, "a.b": math.inf}
    )
    info = describe(STORED, many, PLAIN, TEMPLATES)
    assert (info.name, info.num_bytes, info.num_parameters, info.quantization) == ("m", 1_000, 36, "Q4_1")
    assert (info.architecture, info.vocab_size, info.bos, info.eos) == ("llama", 3, "<s>", "</s>")
    assert info.chat_template == "{{ messages }}"
    assert {"default", "chatml", "alpaca"} <= set(info.templates)
    assert info.metadata == {"general.architecture": "llama", "llama.context_length": 64}


def test_packed_weights_are_counted_as_what_they_hold() -> None:
    packed = Checkpoint(
        "m",
        Path("m"),
        "safetensors",
        None,
        {"x.qweight": tensor("x.qweight", "I32", (16, 8), 512), "n": tensor("n", "F16", (8,), 16)},
        {"model_type": "qwen2"},
        {"quant_method": "gptq", "bits": 4},
    )
    info = describe(STORED, packed, PLAIN, TEMPLATES)
    assert (info.num_parameters, info.quantization, info.architecture) == (16 * 8 * 8 + 8, "GPTQ 4-bit", "qwen2")


@pytest.mark.parametrize(
    ("metadata", "pieces", "expected"),
    [
        ({}, (b"a", b"b", b"c"), None),
        ({}, (b"<fim_middle>", b"<fim_prefix>", b"<fim_suffix>"), InfillTokens(TokenId(1), TokenId(2), TokenId(0))),
        ({}, (b"<fim_prefix>", b"<fim_suffix>", b"x"), None),
        (
            {f"tokenizer.ggml.fim_{n}_token_id": i for n, i in (("pre", 2), ("suf", 0), ("mid", 1))},
            (b"a", b"b", b"c"),
            InfillTokens(TokenId(2), TokenId(0), TokenId(1)),
        ),
        ({f"tokenizer.ggml.fim_{n}_token_id": 99 for n in ("pre", "suf", "mid")}, (b"a", b"b", b"c"), None),
    ],
)
def test_the_tokens_around_a_hole(
    metadata: dict[str, object], pieces: tuple[bytes, ...], expected: InfillTokens | None
) -> None:
    assert describe(STORED, checkpoint(**metadata), replace(PLAIN, pieces=pieces), TEMPLATES).infill == expected


def test_a_host_describes_what_is_loaded_and_what_is_not(default_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "small.gguf").symlink_to(default_model)
        library = ModelLibrary(tmp_path, LoadOptions(context_len=256), ThreadPort, 4)
        host = ModelHost(library)
        before = await host.describe("small")
        (card,) = await host.models()
        assert (card.name, card.loaded, card.num_bytes) == ("small", False, before.num_bytes)
        with pytest.raises(ModelNotFound):
            await host.describe()
        await host.load("small", {})
        assert await host.describe() == before
        assert before.num_parameters == 134_515_008
        assert (before.quantization, before.trained_context_len, before.eos) == ("Q4_1", 8_192, "<|im_end|>")
        assert "<|im_start|>" in before.chat_template
        assert await host.render(ChatPrompt((Message("user", "Hi"),))) != ""
        tokens = await host.tokenize(ChatPrompt((Message("user", "Hi"),)))
        assert b"".join(await host.pieces(tokens)).decode() == await host.render(ChatPrompt((Message("user", "Hi"),)))
        with pytest.raises(Unsupported, match="loaded"):
            await host.delete("small")
        await host.copy("small", "other")
        assert "other" in [card.name for card in await host.models()]
        with pytest.raises(ModelNotFound):
            await host.delete("oth")
        await host.delete("other")
        assert default_model.exists()
        assert host.status().num_slots > 0
        await host.unload()

    asyncio.run(main())


def test_the_fake_host_has_no_files() -> None:
    async def main() -> None:
        host = ModelHost(FakeLibrary(ThreadPort))
        assert (await host.describe("fake")).format == "fake"
        for refused in (host.delete("fake"), host.copy("fake", "x")):
            with pytest.raises(Unsupported):
                await refused
        with pytest.raises(Unsupported):
            async for _ in host.pull("x"):
                pass

    asyncio.run(main())
