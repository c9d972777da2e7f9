"""The alphabet of bytes, as the tokenizers library has it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from publican.host.tokenizer.byte_alphabet import BYTE_TO_CHARACTER, decode_all


def test_same_as_the_librarys() -> None:
    assert set(BYTE_TO_CHARACTER.values()) == set(pre_tokenizers.ByteLevel.alphabet())
    ((spelt, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("Größe\n 東\x00")
    assert spelt == "".join(BYTE_TO_CHARACTER[byte] for byte in "Größe\n 東\x00".encode())


@given(st.lists(st.binary(max_size=8)))
def test_there_and_back(pieces: list[bytes]) -> None:
    assert decode_all("".join(BYTE_TO_CHARACTER[byte] for byte in piece) for piece in pieces) == pieces


@given(st.lists(st.text(max_size=6)))
def test_anything_else_is_as_it_is(texts: list[str]) -> None:
    alphabet = set(BYTE_TO_CHARACTER.values())
    for text, piece in zip(texts, decode_all(texts), strict=True):
        if not set(text) <= alphabet:
            assert piece == text.encode()


def test_hostile_texts() -> None:
    assert decode_all(["a\uffffb", "\uffff", "", "\ufffe", "\udc80", "\x80"]) == [
        "a\uffffb".encode(), "\uffff".encode(), b"", "\ufffe".encode(), b"\x80", "\x80".encode()
    ]  # fmt: skip
