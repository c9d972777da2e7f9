"""SentencePiece merges against a plain twin that searches the best pair anew each time; words change nothing."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.ids import TokenId
from publican.host.tokenizer.spm import SPACE, SentencePieceBPE


def plain(ids: dict[str, TokenId], scores: list[float], text: str) -> list[TokenId]:
    symbols = list(text)
    while True:
        pairs = [(-scores[ids[a + b]], index) for index, (a, b) in enumerate(pairwise(symbols)) if a + b in ids]
        if not pairs:
            break
        _, index = min(pairs)
        symbols[index : index + 2] = [symbols[index] + symbols[index + 1]]
    return [ids[symbol] for symbol in symbols if symbol in ids]


ALPHABET = f"ab{SPACE}\n>"


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.text(ALPHABET, min_size=2, max_size=4), max_size=25, unique=True),
    st.lists(st.integers(-5, 0), min_size=40, max_size=40),
    st.text(ALPHABET, max_size=30),
)
def test_like_the_plain_way(more: list[str], scores: list[int], text: str) -> None:
    texts = [*ALPHABET, *more]
    ids = {token: TokenId(number) for number, token in enumerate(texts)}
    floats = [float(score) for score in scores]
    tokenizer = SentencePieceBPE(ids, tuple(floats), None)
    for _ in range(2):  # the second time from the cache
        assert tokenizer.encode(text) == plain(ids, floats, text)


def test_bytes_stand_in_for_what_has_no_token() -> None:
    ids = {"a": TokenId(0), "<0xC3>": TokenId(1), "<0xA9>": TokenId(2), "é": TokenId(3), "<unk>": TokenId(4)}
    assert SentencePieceBPE({k: v for k, v in ids.items() if k != "é"}, (0.0,) * 5, None).encode("aé") == [0, 1, 2]
    assert SentencePieceBPE(ids, (0.0,) * 5, None).encode("aé") == [0, 3]
    assert SentencePieceBPE(ids, (0.0,) * 5, TokenId(4)).encode("b") == [4]
    assert SentencePieceBPE(ids, (0.0,) * 5, None).encode("b") == []


def test_one_long_word_is_no_trap() -> None:
    texts = ["a", "aa", "aaaa", "aaaaaaaa"]
    tokenizer = SentencePieceBPE({t: TokenId(n) for n, t in enumerate(texts)}, (0.0, -1.0, -2.0, -3.0), None)
    start = time.thread_time()
    assert tokenizer.encode("a" * 200_000) == [3] * 25_000
    assert time.thread_time() - start < 5


def test_the_cache_is_bounded() -> None:
    tokenizer = SentencePieceBPE({c: TokenId(n) for n, c in enumerate(f"0123456789{SPACE}")}, (0.0,) * 11, None)
    tokenizer.encode("".join(f"{SPACE}{number}" for number in range(70_000)))
    assert len(tokenizer._cache) <= 65_536
