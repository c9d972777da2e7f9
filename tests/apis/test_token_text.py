"""Which token stands for which characters."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.token_text import LEAST_LOGPROB, finite, piece_name, split
from publican.core.events import TokenOutput
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.engine.text import TextStream


def tokens(*pieces: bytes) -> list[TokenOutput]:
    return [TokenOutput(TokenId(i), piece) for i, piece in enumerate(pieces)]


@given(st.text(), st.lists(st.binary(max_size=4), min_size=1, max_size=6))
def test_the_parts_joined_are_the_text_whatever_comes(text: str, pieces: list[bytes]) -> None:
    parts = split(text, tokens(*pieces))
    assert "".join(parts) == text
    assert len(parts) == len(pieces)


@given(st.text(min_size=1), st.data())
def test_each_token_gets_its_own_text(text: str, data: st.DataObject) -> None:
    encoded = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(encoded)), max_size=5)))
    edges = [0, *cuts, len(encoded)]
    pieces = [encoded[a:b] for a, b in itertools.pairwise(edges)]
    parts = split(text, tokens(*pieces))
    for part, piece in zip(parts, pieces, strict=True):
        if piece.decode("utf-8", "ignore").encode() == piece and "\ufffd" not in text:
            whole = not part or part.encode().endswith(piece)
            assert whole, (parts, pieces)


def test_a_special_token_that_does_not_show_has_no_text() -> None:
    assert split("ab", tokens(b"a", b"<|im_end|>", b"b")) == ["a", "", "b"]


def test_the_token_that_a_stop_string_cut_keeps_its_beginning() -> None:
    assert split("foo", tokens(b"fo", b"o#", b"##")) == ["fo", "o", ""]


@pytest.mark.parametrize("stop", [(), ("###",), ("lo w",)])
def test_splits_what_the_engine_releases(stop: tuple[str, ...]) -> None:
    pieces = (b"Hel", b"lo ", b"wor", b"\xf0\x9f", b"\x98\x80", b"ld#", b"#", b"<end>")
    stream = TextStream(Vocabulary(pieces, special=frozenset({TokenId(7)})), stop)
    for token in tokens(*pieces):
        released = stream.push(token)
        assert "".join(split(released.text, released.tokens)) == (released.text if released.tokens else "")
        if released.stop is not None:
            break


def test_names_of_bytes_that_are_no_text_are_all_different() -> None:
    assert piece_name("é".encode()) == "é"
    assert piece_name(b"\xc3") == "bytes:\\xc3"
    assert len({piece_name(bytes([i])) for i in range(256)}) == 256


@pytest.mark.parametrize("value", [-math.inf, math.nan, -1e300, -10_000.0])
def test_what_json_cannot_say_is_clamped(value: float) -> None:
    assert finite(value) == LEAST_LOGPROB


def test_other_log_probabilities_pass() -> None:
    assert finite(-0.5) == -0.5
    assert finite(0.0) == 0.0
    assert finite(None) is None
