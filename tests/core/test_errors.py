"""The sentences of errors that are made of values, and errors that cross a process border."""

from __future__ import annotations

import pickle

import pytest

from publican.core.errors import InvalidParameter, ModelNotFound, Overloaded, PromptTooLong


def test_a_model_that_is_not_here_and_none_at_all():
    assert str(ModelNotFound("x")) == "The model 'x' is not here."
    assert str(ModelNotFound("x", ("a", "b"))) == "The model 'x' is not here; here are: a, b."
    assert str(ModelNotFound("", ("a",))) == "No model is loaded; here are: a."


def test_a_long_list_of_models_is_cut_in_the_sentence_alone():
    names = tuple(f"m{number}" for number in range(50))
    error = ModelNotFound("x", names)
    assert str(error).endswith("m18, m19, ….")
    assert error.available == names


@pytest.mark.parametrize(
    "error",
    [
        InvalidParameter("top_p", "must be smaller."),
        PromptTooLong(9_000, 2_048),
        ModelNotFound("x", ("a",)),
        Overloaded("Full.", 7),
    ],
)
def test_they_arrive_as_they_were_sent(error):
    got = pickle.loads(pickle.dumps(error))
    assert type(got) is type(error)
    assert str(got) == str(error)
    assert vars(got) == vars(error)
