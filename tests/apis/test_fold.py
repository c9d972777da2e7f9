"""Folding a stream into an answer, and joining what came together."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.feed import Item
from publican.apis.fold import Choice, Fold, ToolCall, merge
from publican.core.events import ChoiceFinished, Delta, FinishReason, Started, TokenOutput
from publican.core.ids import TokenId

DELTAS = st.builds(
    lambda base, index, text: Item(base, Delta(index, text, (TokenOutput(TokenId(len(text))),))),
    st.sampled_from([0, 2]),
    st.integers(0, 1),
    st.text(max_size=3),
)
OTHERS = st.sampled_from([Item(0, Started(3)), Item(2, ChoiceFinished(1, FinishReason.STOP))])


@given(st.lists(DELTAS | OTHERS, min_size=1))
def test_merging_changes_neither_texts_nor_tokens_nor_order(items: list[Item]) -> None:
    plain, merged = Fold(), Fold()
    plain.add(items)
    merged.add(merge(items))
    assert [(c.index, c.text, [t for d in c.deltas for t in d.tokens]) for c in plain.in_order()] == [
        (c.index, c.text, [t for d in c.deltas for t in d.tokens]) for c in merged.in_order()
    ]
    assert [i for i in merge(items) if not isinstance(i.event, Delta)] == [i for i in items if not isinstance(i.event, Delta)]


@given(st.lists(DELTAS, min_size=1))
def test_no_neighbours_of_one_choice_stay_apart(items: list[Item]) -> None:
    merged = merge(items)
    owners = [item.base + item.event.index for item in merged if isinstance(item.event, Delta)]
    assert all(a != b for a, b in itertools.pairwise(owners)) or len(items) == 1


def test_what_is_between_two_texts_keeps_them_apart() -> None:
    items = [Item(0, Delta(0, "a")), Item(0, ChoiceFinished(1, FinishReason.STOP)), Item(0, Delta(0, "b"))]
    assert merge(items) == items


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ('{"x": 1}', {"x": 1}),
        ("[1]", {"arguments": [1]}),
        ("null", {"arguments": None}),
        ('{"x": ', {"arguments": '{"x": '}),
        ('{"x": NaN}', {"arguments": '{"x": NaN}'}),
        ('{"x": 1e999}', {"arguments": '{"x": 1e999}'}),
        ('{"x": "\ud800"}', {"x": "?"}),
        ("[" * 5_000, {"arguments": "[" * 5_000}),
    ],
)
def test_the_arguments_of_a_call_are_an_object_that_json_can_say(arguments: str, expected: dict[str, object]) -> None:
    parsed = ToolCall("id", "f", arguments).parsed
    assert parsed == expected
    json.dumps(parsed, allow_nan=False)


def test_text_that_comes_before_its_token_is_a_part_of_that_token() -> None:
    """Of ``" hi\\n"`` the first three characters can be shown while ``"\\nUser:"`` may still end the answer."""
    choice, token = Choice(0), TokenOutput(TokenId(1), b" hi\n")
    for delta in (Delta(0, " hi"), Delta(0, "\n", (token,)), Delta(0, "!")):
        choice.add(delta)
    assert choice.parts == [(" hi\n", (token,)), ("!", ())]
    assert (choice.num_tokens, choice.text) == (1, " hi\n!")
