"""Every format: what is written is read back, however it is cut; what it demands is what it writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.host.answers.formats.format import Call, CallFormat
from publican.host.answers.formats.table import FORMATS
from publican.host.answers.formats.tagged import TaggedFormat
from publican.host.answers.marks import Marks
from tests.host.answers.asked import CALLS, calling, cut_at, read, read_at_every_cut

by_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


def test_names_are_told_apart() -> None:
    assert len({format.name for format in FORMATS}) == len(FORMATS)


@by_format
def test_marks_do_not_hide_one_another(format: CallFormat) -> None:
    Marks(format.opens).check()
    assert format.bare or format.opens
    assert set(format.opens) <= set(format.marks)


@by_format
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_one_call_at_every_cut(format: CallFormat, call: Call) -> None:
    found = read_at_every_cut(calling(format), format.write([call]))
    assert found.parsed == [call]
    assert found.text == found.reasoning == ""


@by_format
def test_several_calls_with_text_around_them(format: CallFormat) -> None:
    before = "" if format.bare else "Let me see. <"
    found = read_at_every_cut(calling(format), before + " \n" * bool(before) + format.write(CALLS[:3]) + "\n")
    assert found.parsed == list(CALLS[:3])
    assert found.text == before
    ids = [call[2] for call in found.calls.values()]
    assert len(set(ids)) == 3


@by_format
def test_calls_beyond_the_most_are_dropped(format: CallFormat) -> None:
    found = read(calling(format, most_calls=1), format.write(CALLS[:3]))
    assert found.parsed == [CALLS[0]]
    assert found.text == ""


@by_format
@pytest.mark.parametrize(
    "text", ["Just text.", "", " ", "  two\n\nlines  ", "{}", '{"a": 1}', "[1, 2]", "[]", "<b>bold</b>", "f(x) = 2", "{", "["]
)
def test_text_stays_text(format: CallFormat, text: str) -> None:
    assert read_at_every_cut(calling(format), text).plain == (text, "", [])


_NAMES = st.sampled_from(["get_weather", "roll", "now", "note"])
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)) | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=5,
)


@by_format
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_text_at_any_cut_is_read_the_same(format: CallFormat, data: st.DataObject) -> None:
    """Hostile text too: nothing raises, nothing is lost but what belongs to calls, and cuts do not matter."""
    pieces = st.sampled_from(
        (*format.marks, *'{}[]()"', "'", ",", ":", "=", "\\", "\n", " ", '{"name": "roll", ', "roll(", "arguments")
    )
    text = "".join(data.draw(st.lists(pieces | _TEXTS, max_size=12)))
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=6))
    assert read(calling(format), cut_at(text, cuts)).plain == read(calling(format), [text]).plain


@pytest.mark.parametrize(
    "format", [f for f in FORMATS if f.name in ("hermes", "llama3", "mistral", "mistral-list", "kimi")], ids=lambda f: f.name
)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_arguments_come_back_from_json(format: CallFormat, data: st.DataObject) -> None:
    arguments = st.dictionaries(_TEXTS, _VALUES, max_size=4)
    calls = [Call(data.draw(_NAMES), data.draw(arguments)) for _ in range(data.draw(st.integers(1, 3)))]
    text = format.write(calls)
    found = read(calling(format), cut_at(text, data.draw(st.lists(st.integers(0, 300), max_size=5))))
    assert found.parsed == calls


@pytest.mark.parametrize(
    "format", [f for f in FORMATS if isinstance(getattr(f, "first", f), TaggedFormat)], ids=lambda f: f.name
)
def test_ends_that_are_forgotten(format: CallFormat) -> None:
    """Small models forget to end a value; the next one, or the end of the call, ends it."""
    end = getattr(format, "first", format).value_end
    for calls in ([CALLS[0]], [CALLS[1]], list(CALLS[:3])):
        text = format.write(calls)
        at = text.index(end)
        forgotten = text[:at].rstrip("\n") + "\n" + text[at + len(end) :]
        assert read_at_every_cut(calling(format), forgotten).parsed == calls
