"""GGUF vocabularies that contradict themselves, and what follows from the keys that files have."""

from __future__ import annotations

from typing import Any

import pytest

from publican.core.errors import ModelFileError, PublicanError, UnsupportedModel
from publican.host.tokenizer.byte_alphabet import BYTE_TO_CHARACTER
from publican.host.tokenizer.gguf import gguf_tokenizer

BYTES = tuple(BYTE_TO_CHARACTER[byte] for byte in range(256))
TOKENS = (*BYTES, "<s>", "</s>", "<|im_end|>", "ab", "<tool>", "<|end|>")
TYPES = (1,) * 256 + (3, 3, 1, 1, 4, 3)
BPE: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": TYPES,
    "tokenizer.ggml.merges": ("a b",),
    "tokenizer.ggml.bos_token_id": 256,
    "tokenizer.ggml.eos_token_id": 257,
    "tokenizer.ggml.add_bos_token": True,
}
SPM: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ("<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<0x0A>", "<|user|>"),
    "tokenizer.ggml.token_type": (2, 3, 3, 1, 1, 1, 1, 1, 6, 3),
    "tokenizer.ggml.scores": (0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, 0.0, 0.0),
}


def test_kinds() -> None:
    vocabulary = gguf_tokenizer(BPE).vocabulary
    assert vocabulary.bos == 256
    assert vocabulary.end == {257, 258, 261}
    assert vocabulary.special == {256, 257, 258, 261}
    assert vocabulary.pieces[ord("a")] == b"a"
    assert vocabulary.pieces[0x0A] == b"\n"
    assert vocabulary.pieces[258:] == (b"<|im_end|>", b"ab", b"<tool>", b"<|end|>")


def test_special_tokens_in_text() -> None:
    tokenizer = gguf_tokenizer(BPE)
    assert tokenizer.encode("ab<s><tool>", add_bos=False) == [259, 256, 260]
    assert tokenizer.encode("<s><tool>", add_bos=False, parse_special=False) == [*b"<s>", 260]


def test_a_beginning_is_put_once() -> None:
    tokenizer = gguf_tokenizer(BPE)
    assert tokenizer.encode("ab") == [256, 259]
    assert tokenizer.encode("<s>ab") == [256, 259]
    assert tokenizer.encode("") == [256]
    assert tokenizer.encode("ab", add_bos=False) == [259]
    assert gguf_tokenizer(BPE | {"tokenizer.ggml.add_bos_token": False}).encode("ab") == [259]


def test_decode() -> None:
    tokenizer = gguf_tokenizer(BPE)
    assert tokenizer.decode([256, 259, 258]) == "ab"
    assert tokenizer.decode([256, 259, 258], skip_special=False) == "<s>ab<|im_end|>"
    assert tokenizer.decode([0xC3]) == "\ufffd"
    assert tokenizer.decode([0xC3, 0xA9]) == "é"


def test_lone_surrogates() -> None:
    assert gguf_tokenizer(BPE).encode("a\ud800b") == gguf_tokenizer(BPE).encode("a\ufffdb")
    assert gguf_tokenizer(SPM).encode("a\ud800b") == gguf_tokenizer(SPM).encode("a\ufffdb")


def test_sentencepiece() -> None:
    tokenizer = gguf_tokenizer(SPM)
    assert tokenizer.vocabulary.pieces[7] == b" ab"
    assert tokenizer.vocabulary.pieces[8] == b"\n"
    assert (tokenizer.vocabulary.bos, tokenizer.vocabulary.end) == (1, {2})
    assert tokenizer.encode("ab") == [1, 7]
    assert tokenizer.encode("ab<|user|>ab ab\n", add_bos=False) == [7, 9, 7, 7, 8]
    assert gguf_tokenizer(SPM | {"tokenizer.ggml.add_space_prefix": False}).encode("ab", add_bos=False) == [6]
    assert tokenizer.encode("x", add_bos=False) == [3, 0]


def test_phi_3_swallows_white_space_after_special_tokens() -> None:
    tokenizer = gguf_tokenizer(SPM | {"general.name": "Phi-3 mini"})
    assert tokenizer.encode("<|user|> \n ab", add_bos=False) == [9, 7]


def test_ends_that_look_alike() -> None:
    tokens = (*BYTES, "<|return|>", "<|call|>", "<|end|>", "<|message|>", "</s>", "<|tool_response>")
    metadata = BPE | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": (1,) * 256 + (3,) * 6,
        "tokenizer.ggml.eos_token_id": 256,
    }
    vocabulary = gguf_tokenizer(metadata).vocabulary
    assert vocabulary.end == {256, 257, 261}
    assert vocabulary.special == {256, 257, 261}


def test_rows_of_the_embedding_without_a_token() -> None:
    vocabulary = gguf_tokenizer(BPE, num_rows=300).vocabulary
    assert vocabulary.size == 300
    assert vocabulary.pieces[262:] == (b"",) * 38
    assert set(range(262, 300)) <= vocabulary.special
    with pytest.raises(ModelFileError, match="262 tokens and a model of only 200"):
        gguf_tokenizer(BPE, num_rows=200)


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        (BPE, {"tokenizer.ggml.tokens": None}),
        (BPE, {"tokenizer.ggml.tokens": ()}),
        (BPE, {"tokenizer.ggml.tokens": "abc"}),
        (BPE, {"tokenizer.ggml.tokens": (1, 2)}),
        (BPE, {"tokenizer.ggml.tokens": (*TOKENS[:-1], "a")}),
        (BPE, {"tokenizer.ggml.merges": None}),
        (BPE, {"tokenizer.ggml.merges": (1.0,)}),
        (BPE, {"tokenizer.ggml.token_type": (1, 2, 3)}),
        (BPE, {"tokenizer.ggml.token_type": "x"}),
        (BPE, {"tokenizer.ggml.token_type": ("x",) * len(TOKENS)}),
        (BPE, {"tokenizer.ggml.pre": 5}),
        (BPE, {"tokenizer.ggml.model": 5}),
        (BPE, {"tokenizer.ggml.model": None}),
        (BPE, {"tokenizer.ggml.model": "bert"}),
        (BPE, {"tokenizer.ggml.model": "never heard"}),
        (BPE, {"tokenizer.ggml.add_bos_token": "yes"}),
        (SPM, {"tokenizer.ggml.scores": (0.0,)}),
        (SPM, {"tokenizer.ggml.add_space_prefix": 1}),
    ],
    ids=str,
)
def test_contradictions(base: dict[str, Any], changed: dict[str, Any]) -> None:
    with pytest.raises(PublicanError) as caught:
        gguf_tokenizer({key: value for key, value in (base | changed).items() if value is not None})
    assert isinstance(caught.value, ModelFileError | UnsupportedModel)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "changed",
    [
        {"tokenizer.ggml.bos_token_id": 10**9},
        {"tokenizer.ggml.bos_token_id": -1},
        {"tokenizer.ggml.bos_token_id": "x"},
        {"tokenizer.ggml.merges": ("a b", "x y", " ", "", "a  b", "ab a", "\udc80 a")},
        {"tokenizer.ggml.tokens": (*TOKENS[:-2], "\udc80\udcff", "")},
        {"tokenizer.ggml.token_type": (99,) * len(TOKENS)},
        {"general.name": 7},
    ],
    ids=str,
)
def test_oddities_that_do_no_harm(changed: dict[str, Any]) -> None:
    tokenizer = gguf_tokenizer(BPE | changed)
    assert tokenizer.encode("ab", add_bos=False) == [259]
    assert len(tokenizer.vocabulary.pieces) == len(TOKENS)


def test_byte_tokens_that_are_none() -> None:
    texts = (*SPM["tokenizer.ggml.tokens"][:8], "<0xZZ>", "x")
    types = (*SPM["tokenizer.ggml.token_type"][:8], 6, 6)
    vocabulary = gguf_tokenizer(SPM | {"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": types}).vocabulary
    assert vocabulary.pieces[8:] == (b"", b"")
