"""Token for token the same as libllama: ids, pieces, special tokens and ends, on every real vocabulary that can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings

from publican.host.tokenizer.gguf import gguf_tokenizer
from publican.host.tokenizer.table_tokenizer import TableTokenizer
from publican.store.gguf import read_gguf
from tests.host.tokenizer.corpus import TEXTS, any_text, scrambled
from tests.host.tokenizer.libllama import LibllamaTokenizer
from tests.host.tokenizer.real_files import gemma_model, llama_cpp_models

VOCABULARIES = [
    *("aquila", "baichuan", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "gpt-neox"),
    *("llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
]


@dataclass(frozen=True)
class Pair:
    ours: TableTokenizer
    theirs: LibllamaTokenizer

    def assert_same(self, text: str) -> None:
        for parse_special in (True, False):
            expected = self.theirs.encode(text, False, parse_special)
            assert self.ours.encode(text, add_bos=False, parse_special=parse_special) == expected, (text[:80], parse_special)
            with_bos = self.ours.encode(text, add_bos=True, parse_special=parse_special)
            has_it = expected[:1] == [self.theirs.bos]
            assert with_bos == ([self.theirs.bos] if self.theirs.add_bos and not has_it else []) + expected


def make_pair(path: Path) -> Iterator[Pair]:
    theirs = LibllamaTokenizer(path)
    yield Pair(gguf_tokenizer(read_gguf(path).metadata), theirs)
    theirs.close()


@pytest.fixture(scope="module")
def smollm(default_model: Path) -> Iterator[Pair]:
    yield from make_pair(default_model)


@pytest.fixture(scope="module")
def gemma() -> Iterator[Pair]:
    yield from make_pair(gemma_model())


def check_all(pair: Pair, num_scrambled: int) -> None:
    for text in [*TEXTS, *scrambled(num_scrambled, seed=1)]:
        pair.assert_same(text)
    assert pair.ours.vocabulary.size == pair.theirs.size
    assert pair.ours.vocabulary.end == pair.theirs.ends()
    assert pair.ours.vocabulary.special == pair.theirs.hidden()
    for token, piece in enumerate(pair.ours.vocabulary.pieces):
        expected = pair.theirs.piece(token)
        # A token outside the alphabet of bytes is text as it stands; libllama gives "[UNK_BYTE_0x…]" for its characters.
        assert piece == expected or expected.startswith(b"[UNK_BYTE_")


def test_the_default_model(smollm: Pair) -> None:
    check_all(smollm, 500)
    assert smollm.ours.vocabulary.bos == smollm.theirs.bos


@settings(max_examples=500, deadline=None)
@given(text=any_text)
def test_the_default_model_on_any_text(smollm: Pair, text: str) -> None:
    smollm.assert_same(text)
    single_bytes = {piece for piece in smollm.ours.vocabulary.pieces if len(piece) == 1}
    kept = bytes(byte for byte in text.encode() if bytes([byte]) in single_bytes)  # 1D and some others have no token
    for parse_special in (True, False):
        tokens = smollm.ours.encode(text, add_bos=False, parse_special=parse_special)
        assert smollm.ours.decode(tokens, skip_special=False) == kept.decode("utf-8", "replace")


@pytest.mark.slow
def test_gemma(gemma: Pair) -> None:
    check_all(gemma, 500)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(text=any_text)
def test_gemma_on_any_text(gemma: Pair, text: str) -> None:
    gemma.assert_same(text)
    assert gemma.ours.decode(gemma.ours.encode(text, add_bos=False), skip_special=False) == text.replace("▁", " ")


@pytest.mark.slow
@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_vocabularies_of_llama_cpp(name: str) -> None:
    for pair in make_pair(llama_cpp_models() / f"ggml-vocab-{name}.gguf"):
        check_all(pair, 150)
