"""`publican chat` against a real server with the fake model, typed at through a pipe."""

from __future__ import annotations

import subprocess
import sys

import pytest

from publican.cli.chat import Conversation, Server
from publican.core.errors import PublicanError
from tests.cli.running import serving
from tests.stranger import stranger


class Parrot:
    """A server that says back the last message, and how many there were."""

    url = "http://parrot"

    def __init__(self) -> None:
        self.asked: list[list[dict[str, str]]] = []
        self.broken = False

    def answer(self, messages, sampling):
        self.asked.append([dict(m) for m in messages])
        yield f"{len(messages)}:"
        if self.broken:
            raise PublicanError("The connection broke.")
        yield messages[-1]["content"]


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


def talk(parrot: Parrot, monkeypatch, *lines: str, system: str | None = None) -> Conversation:
    said = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    conversation = Conversation(parrot, system, {})
    conversation.run()
    return conversation


def test_it_remembers(parrot, monkeypatch, capsys):
    talk(parrot, monkeypatch, "one", "two", system="be brief")
    assert [m["content"] for m in parrot.asked[1]] == ["be brief", "one", "2:one", "two"]
    assert "4:two" in capsys.readouterr().out


def test_retry_answers_the_same_again(parrot, monkeypatch):
    talk(parrot, monkeypatch, "one", "/retry")
    assert parrot.asked[0] == parrot.asked[1]


def test_undo_and_clear_forget(parrot, monkeypatch):
    assert talk(parrot, monkeypatch, "one", "/undo").messages == []
    kept = talk(parrot, monkeypatch, "one", "/clear", "/retry", system="s").messages
    assert [m["role"] for m in kept] == ["system"]


def test_a_backslash_goes_on_in_the_next_line(parrot, monkeypatch):
    talk(parrot, monkeypatch, "one\\", "two")
    assert parrot.asked[0][-1]["content"] == "one\ntwo"


def test_an_unknown_slash_is_help_and_a_path_is_a_message(parrot, monkeypatch, capsys):
    talk(parrot, monkeypatch, "/what", "/etc/passwd is a file")
    assert "/retry" in capsys.readouterr().out
    assert len(parrot.asked) == 1


def test_what_came_before_a_break_is_kept(parrot, monkeypatch, capsys):
    parrot.broken = True
    assert talk(parrot, monkeypatch, "one").messages[-1] == {"role": "assistant", "content": "1:"}
    assert "The connection broke." in capsys.readouterr().err


def test_with_a_server(tmp_path):
    with serving(tmp_path, "--loader", "fake", "--api-key", "sesame") as server:
        command = [sys.executable, "-m", "publican", "chat", server.url, "--max-tokens", "8", "--temperature", "0"]
        done = subprocess.run(
            [*command, "--key", "sesame"],
            input="hello\n/retry\n/quit\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        answers = [line for line in done.stdout.replace("> ", "").splitlines() if line.isalpha() and line.islower()]
        assert len(answers) == 2
        assert answers[0] == answers[1]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert "key" in refused.stderr


def test_what_was_never_answered_does_not_stand_in_the_way(parrot, monkeypatch):
    """A message that is too long for the model would otherwise be sent again with every one that follows."""

    def refuse(messages, sampling):
        parrot.asked.append([dict(m) for m in messages])
        raise PublicanError("The prompt is too long.")
        yield

    monkeypatch.setattr(parrot, "answer", refuse)
    talk(parrot, monkeypatch, "much too long", "/retry", "short")
    assert [[m["content"] for m in asked] for asked in parrot.asked] == [["much too long"], ["much too long"], ["short"]]


@pytest.mark.parametrize("body", [b"hello", b"[]", b"5", b'{"data": 5}', b'{"data": [{}]}', b'{"data": [5]}', b"\xff\xfe"])
def test_a_server_of_another_kind_is_said(body):
    with stranger(body) as url, Server(url, None) as server, pytest.raises(PublicanError, match="does not speak"):
        server.model()


@pytest.mark.parametrize("chunk", ["{", "5", "[1]", '{"choices": 5}', '{"choices": [5]}', '{"choices": [{"delta": 5}]}'])
def test_events_of_another_kind_are_said(chunk):
    with (
        stranger(f"data: {chunk}\n\n".encode()) as url,
        Server(url, None) as server,
        pytest.raises(PublicanError, match="does not speak"),
    ):
        list(server.answer([], {}))


@pytest.mark.parametrize(
    ("url", "key"), [("http://[::1", None), ("http://localhost:port", None), ("http://localhost", "k\xe9\u20ac")]
)
def test_what_is_no_address_or_no_key_is_said(url, key):
    with pytest.raises(PublicanError, match="no address"):
        Server(url, key)


def test_nan_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "publican", "chat", "--temperature", "nan"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not a number" in done.stderr
