import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.events import TokenOutput
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.engine.text import TextStream

BYTES = Vocabulary((*(bytes([i]) for i in range(256)), b"</s>"), special=frozenset({TokenId(256)}))


def stream(data: bytes, *stop: str, include_stop: bool = False, special_tokens: bool = False, extra: tuple[int, ...] = ()):
    """The text as it comes out, one piece per byte pushed, then what a flush lets go, and the stop that was met."""
    text = TextStream(BYTES, stop, include_stop, special_tokens)
    pieces = []
    for byte in (*data, *extra):
        released = text.push(TokenOutput(TokenId(byte)))
        pieces.append(released.text)
        if released.stop is not None:
            return pieces, released.stop
    pieces.append(text.flush().text)
    return pieces, None


def test_plain_text_comes_at_once():
    assert stream(b"abc") == (["a", "b", "c", ""], None)


def test_half_a_character_waits():
    assert stream("é€😀".encode())[0] == ["", "é", "", "", "€", "", "", "", "😀", ""]


def test_half_a_character_at_the_end_is_dropped():
    assert stream("a😀".encode()[:-1])[0] == ["a", "", "", "", ""]


def test_bytes_that_are_no_text_become_the_replacement_character():
    assert "".join(stream(b"a\xff\xfeb")[0]) == "a��b"


def test_what_may_become_a_stop_string_waits():
    assert stream(b"ab<|e", "<|end|>") == (["a", "b", "", "", "", "<|e"], None)
    assert stream(b"a\nUser", "\nUser:") == (["a", "", "", "", "", "", "\nUser"], None)


def test_a_stop_string_is_cut_off():
    pieces, stop = stream(b"hello<|end|>more", "<|end|>")
    assert "".join(pieces) == "hello"
    assert stop == "<|end|>"


def test_a_stop_string_can_be_kept():
    pieces, _ = stream(b"hello.more", ".", include_stop=True)
    assert "".join(pieces) == "hello."


def test_the_earliest_stop_string_wins_and_of_those_the_longest():
    assert stream(b"xabcd", "cd", "abcd")[1] == "abcd"
    assert stream(b"xabcd", "bc", "abcd")[1] == "bc"


def test_special_tokens_are_hidden_unless_wanted():
    assert "".join(stream(b"a", extra=(256, 98))[0]) == "ab"
    assert "".join(stream(b"a", extra=(256, 98), special_tokens=True)[0]) == "a</s>b"


def test_tokens_come_with_the_text_they_complete():
    text = TextStream(BYTES, ["xyz"])
    ids = []
    for byte in "é".encode():
        ids.append([t.id for t in text.push(TokenOutput(TokenId(byte))).tokens])
    assert ids == [[], [0xC3, 0xA9]]
    assert text.push(TokenOutput(TokenId(ord("x")))).tokens == ()
    released = text.push(TokenOutput(TokenId(ord("!"))))
    assert (released.text, [t.id for t in released.tokens]) == ("x!", [ord("x"), ord("!")])


@given(data=st.text(alphabet="abé😀\n"), stops=st.lists(st.text(alphabet="abé\n", min_size=1, max_size=4), max_size=3))
def test_the_stream_is_the_text_before_the_first_stop(data: str, stops: list[str]):
    pieces, stop = stream(data.encode(), *stops)
    ends = [(data.find(s) + len(s), data.find(s)) for s in stops if s in data]
    if not ends:
        assert ("".join(pieces), stop) == (data, None)
        return
    first_end = min(end for end, _ in ends)  # the first to be complete is met first
    start = min(start for end, start in ends if end == first_end)
    assert "".join(pieces) == data[:start]
    assert stop is not None
    assert data[start:].startswith(stop)


@pytest.mark.parametrize("stop", ["aab", "aaab", "abab"])
def test_a_failed_beginning_can_hold_another(stop: str):
    pieces, met = stream(("a" + stop + "z").encode(), stop)
    assert "".join(pieces) == "a"
    assert met == stop
