import itertools

from hypothesis import given
from hypothesis import strategies as st

from publican.bench.sse import EventReader


def read(*pieces: bytes) -> list[str]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_events_and_what_is_not_data():
    stream = b': hello\n\nevent: x\nid: 7\ndata: {"a":1}\n\ndata:[DONE]\n\nretry: 10\n\n'
    assert read(stream) == ['{"a":1}', "[DONE]"]


def test_several_lines_are_one_event():
    assert read(b"data: a\ndata:  b\ndata\n\n") == ["a\n b\n"]


def test_an_unfinished_event_is_none():
    assert read(b"data: a\n") == []


def test_bytes_that_are_no_text_do_no_harm():
    assert read(b"data: \xff\n\n") == ["\ufffd"]


texts = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)


@given(st.lists(texts, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 400), max_size=20))
def test_any_line_ends_cut_anywhere(datas, end, cuts):
    stream = b"".join(b"data: " + data.encode() + end + end for data in datas) + b": the end" + end
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert read(*pieces) == datas
    assert read(*(bytes([byte]) for byte in stream)) == datas
