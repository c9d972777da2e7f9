"""Special tokens in text: longest first, each once; against a plain twin that does it the slow way."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from publican.core.ids import TokenId
from publican.host.tokenizer.special import Part, SpecialToken, SpecialTokens


def plain(tokens: Sequence[SpecialToken], text: str) -> list[Part]:
    """Splits the text by one token after the other, the longest first."""
    parts = [Part(text, None)]
    for token in sorted(tokens, key=lambda t: (-len(t.text.encode()), t.id)):
        split: list[Part] = []
        for part in parts:
            if part.token is not None:
                split.append(part)
                continue
            rest = part.text
            while (at := rest.find(token.text)) >= 0:
                split += [Part(rest[:at], None), Part(token.text, token.id)]
                rest = rest[at + len(token.text) :]
                if token.strips_right:
                    stripped = rest.lstrip(" \t\n\v\f\r")
                    split[-1] = Part(token.text + rest[: len(rest) - len(stripped)], token.id)
                    rest = stripped
            split.append(Part(rest, None))
        parts = split
    return [part for part in parts if part.text]


words = st.text("<|ab >", min_size=1, max_size=5)


@given(st.lists(st.tuples(words, st.booleans()), max_size=6, unique_by=lambda t: t[0]), st.text("<|ab >", max_size=40))
def test_like_the_plain_way(names: list[tuple[str, bool]], text: str) -> None:
    tokens = [SpecialToken(name, TokenId(number), strips) for number, (name, strips) in enumerate(names)]
    parts = list(SpecialTokens(tokens).split(text))
    assert parts == plain(tokens, text)
    assert "".join(part.text for part in parts) == text


def test_overlaps_go_to_the_longer_one() -> None:
    tokens = SpecialTokens([SpecialToken("abc", TokenId(1)), SpecialToken("bcde", TokenId(2))])
    assert list(tokens.split("abcde")) == [Part("a", None), Part("bcde", TokenId(2))]


def test_nothing_to_find() -> None:
    assert list(SpecialTokens([]).split("text")) == [Part("text", None)]
    assert list(SpecialTokens([SpecialToken("", TokenId(1))]).split("text")) == [Part("text", None)]
    assert list(SpecialTokens([SpecialToken("x", TokenId(1))]).split("")) == []


def test_thousands_of_tokens_and_long_texts_are_quick() -> None:
    runs = [SpecialToken("\n" * length, TokenId(length)) for length in range(1, 32)]
    unused = [SpecialToken(f"<unused{number}>", TokenId(100 + number)) for number in range(6_000)]
    tokens = SpecialTokens([*runs, *unused])
    for text in ["word " * 40_000, "\n" * 200_000, "<unused1>" * 20_000, "<unused" * 30_000, "a\n" * 100_000]:
        start = time.thread_time()
        assert "".join(part.text for part in tokens.split(text)) == text
        assert time.thread_time() - start < 3
