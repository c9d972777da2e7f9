"""Every rule in the table cuts text where libllama cuts it.

The vocabulary is made so that each cut shows: it has a token for every two and three characters of a small alphabet, so
whatever stays together is merged, and whatever is cut apart is not.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publican.core.errors import UnsupportedModel
from publican.host.tokenizer.byte_alphabet import BYTE_TO_CHARACTER
from publican.host.tokenizer.gguf import gguf_tokenizer
from publican.host.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from publican.store.gguf import read_gguf
from tests.host.tokenizer.libllama import LibllamaTokenizer
from tests.store.gguf_bytes import build

CHARACTERS = [*"aBs \n\r\t1'!/+", "é", "\u0301", "東", "\u3000", "\xa0", "。", "É"]
NAMES = list({rules: name for name, rules in PRE_TOKENIZERS.items() if rules.byte_level}.values())


def texts(num: int) -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choice(CHARACTERS) for _ in range(rng.randint(1, 14))) for _ in range(num)]


TEXTS = texts(1_500)


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    alphabet = [BYTE_TO_CHARACTER[byte] for byte in sorted({byte for c in CHARACTERS for byte in c.encode()})]
    pairs = ["".join(pair) for pair in itertools.product(alphabet, repeat=2)]
    triples = ["".join(triple) for triple in itertools.product(alphabet, repeat=3)]
    merges = [f"{p[0]} {p[1]}" for p in pairs] + [f"{t[:2]} {t[2]}" for t in triples] + [f"{t[0]} {t[1:]}" for t in triples]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [*(BYTE_TO_CHARACTER[byte] for byte in range(256)), *pairs, *triples],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def libllama(metadata: dict[str, Any], pre: str, folder: Path) -> Iterator[LibllamaTokenizer]:
    path = folder / f"{pre}.gguf"
    path.write_bytes(build(metadata | {"tokenizer.ggml.pre": pre}))
    tokenizer = LibllamaTokenizer(path)
    yield tokenizer
    tokenizer.close()


def as_read(metadata: dict[str, Any], pre: str) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in metadata.items()} | {
        "tokenizer.ggml.pre": pre
    }


@pytest.mark.parametrize("pre", NAMES)
def test_cuts_as_libllama_does(metadata: dict[str, Any], pre: str, tmp_path: Path) -> None:
    ours = gguf_tokenizer(as_read(metadata, pre))
    for theirs in libllama(metadata, pre, tmp_path):
        for text in TEXTS:
            assert ours.encode(text, add_bos=False) == theirs.encode(text), text
        assert len(ours.encode("a")) == len(theirs.encode("a", add_bos=True))


def test_these_texts_tell_rules_apart(metadata: dict[str, Any]) -> None:
    """Else the test above would prove little. Two of llama.cpp's patterns are written differently and mean the same."""
    cut = {pre: tuple(map(tuple, map(gguf_tokenizer(as_read(metadata, pre)).encode, TEXTS))) for pre in NAMES}
    for a, b in itertools.combinations(NAMES, 2):
        same_rules = PRE_TOKENIZERS[a].patterns == PRE_TOKENIZERS[b].patterns or {a, b} == {"grok-2", "llada-moe"}
        assert (cut[a] == cut[b]) <= same_rules, (a, b)


@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_every_name_is_one_that_libllama_knows(pre: str, tmp_path: Path) -> None:
    tokens = [*(BYTE_TO_CHARACTER[byte] for byte in range(256)), "ab", "\n", "a"][:257] + [
        f"<0x{byte:02X}>" for byte in range(256)
    ]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    for theirs in libllama(metadata, pre, tmp_path):
        ours = gguf_tokenizer(read_gguf(tmp_path / f"{pre}.gguf").metadata)
        for text in ["ab", "a b", "ab1 ab\nab", "é"]:
            assert ours.encode(text, add_bos=False) == theirs.encode(text)
        assert (ours.encode("ab")[:1] == [1]) == theirs.add_bos


@pytest.mark.parametrize("pre", ["", "made-up", "kimi-k2"])
def test_a_name_that_is_not_here(metadata: dict[str, Any], pre: str) -> None:
    if pre:
        with pytest.raises(UnsupportedModel, match=f"pre-tokenizer is '{pre}'"):
            gguf_tokenizer(as_read(metadata, pre))
    else:
        unnamed = gguf_tokenizer(as_read(metadata, pre))
        named = gguf_tokenizer(as_read(metadata, "default"))
        assert [unnamed.encode(text) for text in TEXTS[:50]] == [named.encode(text) for text in TEXTS[:50]]
