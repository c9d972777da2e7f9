"""DRY against a brute-force twin on random text, its memory kept up token by token, and its breakers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.dry import Matches, penalties, suffix_agreements
from publican.engine.sampling.facts import VocabularyFacts, find_limit
from publican.engine.sampling.history import History
from publican.engine.sampling.pipeline import Pipeline
from publican.engine.sampling.reference.lookback import dry, dry_limit
from publican.engine.sampling.reference.row import Known
from tests.engine.sampling.running import letters

TEXTS = st.lists(st.integers(0, 3), max_size=80)
FACTS = VocabularyFacts(letters(30))


def agreement(text: list[int], j: int) -> int:
    """How long the text that ends at place j agrees with the whole."""
    length = 0
    while length <= j and text[j - length] == text[-1 - length]:
        length += 1
    return length


@given(text=TEXTS, first=st.integers(0, 80))
@settings(max_examples=200, deadline=None)
def test_memory_is_as_good_as_looking(text, first):
    """Built at some point and then kept up, one token or several at a time."""
    history = History()
    history.extend(text[:first])
    matches = Matches(history)
    for at in range(first, len(text) + 1):
        history.extend(text[history.size : at])
        matches.sync()
        so_far = text[: history.size]
        wanted = {j: agreement(so_far, j) for j in range(len(so_far) - 1) if so_far[j] == so_far[-1]}
        assert dict(zip(matches.ends.tolist(), matches.lengths.tolist(), strict=True)) == wanted


@given(text=st.lists(st.integers(0, 2), max_size=300))
@settings(max_examples=100, deadline=None)
def test_z_algorithm(text):
    wanted = [agreement(text, j) for j in range(len(text) - 1)] + [0] * bool(text)
    assert suffix_agreements(np.array(text, dtype=np.int64)).tolist() == wanted


def test_a_long_repetition_is_built_the_linear_way():
    text = [1, 2, 3, 4, 5] * 400
    history = History()
    history.extend(text)
    matches = Matches(history)
    assert dict(zip(matches.ends.tolist(), matches.lengths.tolist(), strict=True)) == {j: j + 1 for j in range(4, 1995, 5)}


PARAMS = st.fixed_dictionaries(
    {
        "dry_multiplier": st.floats(0.1, 3.0),
        "dry_base": st.floats(1.0, 4.0),
        "dry_allowed_length": st.integers(0, 4),
        "dry_range": st.integers(0, 60),
        "dry_max_match": st.integers(0, 8),
        "dry_rule": st.sampled_from(["llamacpp", "koboldcpp"]),
        "dry_sequence_breakers": st.sampled_from([(), ("a",), ("b", "c"), ("ab",), ("abc", "d"), ("aab", "b")]),
    }
)


@given(text=TEXTS, given_params=PARAMS)
@settings(max_examples=400, deadline=None)
def test_brute_force(text, given_params):
    p = SamplingParams(seed=0, **given_params)
    pipeline = Pipeline(letters(30))
    row = pipeline.add(p, text)
    tokens, amounts = penalties(pipeline._states[row], FACTS.breakers(p.dry_sequence_breakers))
    wanted = -dry(np.zeros(30), p, Known(text, 0, facts=FACTS))
    shown = np.zeros(30)
    shown[tokens] = amounts
    np.testing.assert_allclose(shown, wanted, rtol=1e-12)


@given(text=st.lists(st.integers(0, 3), max_size=40), start=st.integers(0, 40), most=st.integers(0, 60))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("texts", [("a",), ("ab",), ("abc", "d"), ("ba", "b"), ("aab", "ab")])
def test_limit(texts, text, start, most):
    """As far as it matters, the quick search from the end finds what looking everywhere finds."""
    breakers = FACTS.breakers(texts)
    start = min(start, len(text))
    assert min(find_limit(text, start, breakers, most), most) == min(dry_limit(text[start:], breakers), most)


def test_breakers_as_llamacpp_finds_them():
    pieces = (b"\n", b" \n", b"x\nUser", b":", b"User", b"\nUs", b"er", b"er:", b"a\nU", b"s", b"<|end|>")
    facts = VocabularyFacts(Vocabulary(pieces, frozenset({TokenId(10)})))
    assert facts.breakers(("\n",)).single == {0, 1, 2, 5, 8}
    found = facts.breakers(("\nUser:",))
    assert found.single == frozenset()
    assert found.tails[0] == ((4, 3),)  # "\n" + "User" + ":"
    assert found.tails[2] == ((3,),)  # "x\nUser" + ":"
    assert found.tails[5] == ((7,),)  # "\nUs" + "er:"
    assert found.tails[8] == ((9, 7),)  # "a\nU" + "s" + "er:"
    text = [4, 0, 4, 3, 9]
    assert find_limit(text, 0, found, 100) == 1


def test_a_token_may_begin_a_breaker_in_two_places():
    found = FACTS.breakers(("aab",))  # 26 is aa, 27 is ab
    assert found.tails[0] == ((27,),)
    assert found.tails[26] == ((1,), (27,))
    assert find_limit([2, 26, 1, 5], 0, found, 100) == dry_limit([2, 26, 1, 5], found) == 1
    assert find_limit([2, 26, 27, 5], 0, found, 100) == dry_limit([2, 26, 27, 5], found) == 1
    assert find_limit([2, 26, 5, 1], 0, found, 100) == 4


def test_time_is_linear_in_the_text():
    """A run of one token is the worst there is: each step may cost what going through the text once costs, and no more."""

    def per_token(size: int) -> float:
        pipeline = Pipeline(letters(30))
        text = [7] * size
        row = pipeline.add(SamplingParams(seed=0, dry_multiplier=0.8, dry_base=1.0001), text)
        state = pipeline._states[row]
        breakers = FACTS.breakers(())
        penalties(state, breakers)
        began = time.thread_time()
        for _ in range(30):
            text.append(7)
            penalties(state, breakers)
        return time.thread_time() - began

    small, large = min(per_token(4_000) for _ in range(3)), min(per_token(32_000) for _ in range(3))
    assert large < 8 * 4 * small
