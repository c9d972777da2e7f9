"""Guesses from the text itself, and how many to make of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from publican.core.ids import TokenId
from publican.engine.drafting.guesser import Guesser
from publican.engine.drafting.ngram import NgramDrafter
from publican.engine.drafting.window import Window


def tokens_of(text: str) -> list[TokenId]:
    return [TokenId(ord(letter)) for letter in text]


def guess(text: str, num_tokens: int = 4) -> str:
    return "".join(chr(token) for token in NgramDrafter().propose(tokens_of(text), num_tokens))


def test_what_followed_last_time_follows():
    assert guess("the cat sat. the c") == "at s"
    assert guess("ab1 ab2 ab") == "2 ab", "the latest of several"
    assert guess("xabcd1 ybcd2 abcd") == "1 yb", "the longest of several"


def test_nothing_seen_is_nothing_guessed():
    assert guess("abcdefg") == ""
    assert guess("a") == ""
    assert guess("") == ""


def test_a_loop_goes_on_as_a_loop():
    assert guess("yxyxyx", 7) == "yxyxyxy"


@given(st.text("abc", min_size=1, max_size=80), st.lists(st.tuples(st.integers(0, 80), st.text("abc", max_size=9)), max_size=6))
def test_a_drafter_that_was_there_all_along_guesses_as_a_fresh_one(text: str, changes: list[tuple[int, str]]):
    """Also where the sequence went back and took another way."""
    old, tokens = NgramDrafter(), tokens_of(text)
    for keep, more in [(len(text), ""), *changes]:
        back = max(1, min(keep, len(tokens)))
        if back < len(tokens):
            old = NgramDrafter()  # the engine guesses only for sequences that never go back
        tokens[back:] = tokens_of(more)
        assert old.propose(tokens, 5) == NgramDrafter().propose(tokens, 5)


def test_a_window_grows_with_what_comes_true_and_shuts_when_nothing_does():
    window = Window(7)
    for _ in range(12):
        asked = window.next()
        window.learn(asked, asked)
    assert window.next() == 7
    tried = 0
    for _ in range(200):
        asked = window.next()
        tried += asked
        window.learn(asked, 0)
    assert tried < 60, "a text that cannot be guessed costs a probe now and then"
    assert any(window.next() for _ in range(20)), "it looks again"


def test_a_guess_never_goes_to_the_end():
    guesser = Guesser(longest=7, full_len=10)
    tokens = tokens_of("abababab")
    for _ in range(9):
        guesser.learn(4, 4)
    assert len(guesser.guess(tokens, 7)) == 1
    assert guesser.guess([*tokens, *tokens_of("a")], 7) == []
