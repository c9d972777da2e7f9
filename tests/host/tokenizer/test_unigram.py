"""Unigram in a GGUF file: token for token as libllama, with a table of characters and without, spaces merged or kept."""

from __future__ import annotations

import base64
import itertools
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.host.tokenizer.gguf import gguf_tokenizer
from publican.host.tokenizer.unigram import Characters
from publican.store.gguf import read_gguf
from tests.host.tokenizer.corpus import TEXTS, any_text, scrambled
from tests.host.tokenizer.libllama import LibllamaTokenizer
from tests.host.tokenizer.test_against_libllama import Pair
from tests.host.tokenizer.unigram_files import write_vocabulary

CHARACTERS = zlib.decompress(
    base64.b85decode(
        "c-kG)d9aUF7zgm@_oFFU{xT(nJH=?>hRPD6(5hr<u}hXPCCb_@_gd;&D&>+^7g1N&zGkf`G*?kKL{XNB8EaJb`n<g}pZ9ytdCt6Z-Z|$)$%x2^C{-%r%F7"
        "~B5!pp$(oy!Bh#dWL`uR1zGSV?#-;-S;87mucxy;T=NA|-JrL}X6O|Rrz+T~5WnyYxLI2{$_wN%8ExQ;4Rrm!fTEFo^-da6;C>dc-Sag)4}Teum^i5lEWC"
        "abSVM=g09b-07usYhKJP@jg}Nn;w(guA$#rZnRoTF{*PxR(dGpNDu5zZ)%S#Ur%lQQFdm$7shBJWhL_q$3^ZOeeb1g{SDo({!gNJ?Kp@`tS_>=*zRooV;}"
        "Om(MYP=XrsF4B|zGFqmNs<t2vmGFgn^6>^eIWfUVB!)RXPRmPIbc*gNM6L^z1lKo{OlX#oS<nazuc$cZX&wG5x2TbE5rjyT1W-yD7`6StY3iy=In8V!U%r"
        "KvMEMx(TS;SJ7u$*Ol&I(qsk~PVhVI6Dvk}p`#SA5L|Hu4Rd*_70BQ}M0bLJ{Bd9oyK-kNm(-6tjcv{LD^vvx{H(g}v<IcYb3(`#8t}{@{3FDh|s-No_(Z"
        "_D@X3QSBp1jbohT1gH3uzc|f5{LNX;aGrBq<O2V4DgM9znVFeU+ePTrC)O9lf6}d#d;"
    )
)
"""What SentencePiece 0.2.3 makes of a few rules: white space is a space, no zero-width space and ﬁ as fi, e and an accent as é,
… as three dots, Ａ as A, ① as 1."""
MORE_TEXTS = [
    "ﬁne…  Ａ①\u200b x\t\ty\u3000z  ",
    " a",
    "a ",
    "  ",
    "",
    "\u2581a \u2581",
    "e\u0301e",
    "the<mask>the  <mask> x",
    "\x00a",
]
WAYS = list(itertools.product((True, False), repeat=3))


def pieces() -> list[tuple[str, float, int]]:
    """Most characters of the corpus, parts of its words, and the odd kinds of tokens."""
    rng = random.Random(7)
    text = "".join(TEXTS)[:20_000].replace("\0", "")  # libllama's pieces end there
    known = sorted(set(text) - set(" \n\t\r<>") | {"\u2581"})
    words = sorted(
        {"\u2581" + word[: rng.randrange(1, 6)] for word in text.split()} | {w[1 : rng.randrange(2, 7)] for w in text.split()}
    )
    texts = dict.fromkeys([*rng.sample(known, len(known) * 3 // 4), *(w for w in rng.sample(words, min(400, len(words))) if w)])
    special = [("<s>", 0.0, 3), ("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    odd = [("tool", 0.0, 4), ("unused\u2581x", -3.0, 5), ("<mask>", 0.0, 3)]
    taken = {text for text, _, _ in (*special, *odd)}
    return [*special, *((t, -12.0 * rng.random(), 1) for t in texts if t not in taken), *odd]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    alike, prefix, merge = request.param
    path = tmp_path_factory.mktemp("unigram") / "vocabulary.gguf"
    write_vocabulary(path, pieces(), CHARACTERS if alike else b"", prefix=prefix, merge=merge)
    theirs = LibllamaTokenizer(path)
    yield Pair(gguf_tokenizer(read_gguf(path).metadata), theirs)
    theirs.close()


def test_as_libllama(pair: Pair) -> None:
    for text in [*TEXTS, *scrambled(150, seed=2), *MORE_TEXTS]:
        pair.assert_same(text)
    assert pair.ours.vocabulary.end == pair.theirs.ends()
    assert pair.ours.vocabulary.special == pair.theirs.hidden()
    assert all(pair.ours.vocabulary.pieces[token] == pair.theirs.piece(token) for token in range(pair.theirs.size))


@settings(max_examples=60, deadline=None)
@given(any_text)
def test_any_text_as_libllama(pair: Pair, text: str) -> None:
    pair.assert_same(text)


def test_characters_are_made_alike() -> None:
    it = Characters(CHARACTERS)
    assert it.alike("ﬁn e\u0301 … Ａ① a\u200bb\tc") == "fin é ... A1 ab c"
    assert Characters().alike("ﬁ") == "ﬁ"


@pytest.mark.parametrize("table", [b"\x01", b"\xff\xff\xff\xff", CHARACTERS[:40], b"\x03\0\0\0abc"])
def test_a_table_that_is_cut_off(table: bytes) -> None:
    with pytest.raises(ModelFileError):
        Characters(table)


def test_a_table_of_nonsense_does_nothing_worse() -> None:
    rng = random.Random(3)
    for _ in range(200):
        size = 4 * rng.randrange(0, 12)
        table = size.to_bytes(4, "little") + rng.randbytes(size) + rng.randbytes(rng.randrange(8))
        Characters(table).alike("aé東 " + "".join(map(chr, range(1, 250))))


def test_t5_itself_is_refused(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "t5.gguf", pieces(), b"", architecture="t5")
    with pytest.raises(UnsupportedModel, match="T5"):
        gguf_tokenizer(read_gguf(path).metadata)


@pytest.mark.parametrize("value", [(1, "x"), (300,), "x", (True,)])
def test_a_table_that_is_none(tmp_path: Path, value: object) -> None:
    metadata = read_gguf(write_vocabulary(tmp_path / "m.gguf", pieces(), b"")).metadata
    with pytest.raises(ModelFileError, match="precompiled_charsmap"):
        gguf_tokenizer({**metadata, "tokenizer.ggml.precompiled_charsmap": value})
