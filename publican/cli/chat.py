"""`publican chat`: talk to a running server from a terminal. A client like any other: it speaks OpenAI's dialect."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import click
import httpx

from publican.core.errors import PublicanError

_HELP = "/retry answers again · /undo takes the last turn back · /system TEXT · /clear forgets all · /quit"


@click.command("chat")
@click.argument("url", default="http://127.0.0.1:5000")
@click.option("--key", envvar="PUBLICAN_API_KEY", help="The server's key, if it wants one.")
@click.option("--system", help="What the model is told first.")
@click.option("--temperature", type=click.FloatRange(0, 100), help="0 always gives the likeliest answer.")
@click.option("--max-tokens", type=click.IntRange(1), help="The longest answer.")
@click.option("--seed", type=int, help="Makes answers repeatable.")
def command(url: str, key: str | None, system: str | None, **sampling: Any) -> None:
    """Chat with the server at URL (default: this machine's).

    Type a message; end a line with a backslash to go on in the next. Ctrl-C stops an answer, Ctrl-D leaves.
    """
    asked = {name: value for name, value in sampling.items() if value is not None}
    if asked.get("temperature") != asked.get("temperature"):  # what a range does not find: nan
        raise click.BadParameter("nan is not a number.", param_hint="--temperature")
    with Server(url, key) as server:
        click.echo(click.style(f"{server.model()} at {server.url}", bold=True))
        click.echo(click.style(_HELP, dim=True))
        Conversation(server, system, asked).run()


class Server:
    """The few calls that a chat needs."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=self.url + "/v1", headers=headers, timeout=httpx.Timeout(10, read=None))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise PublicanError(f"{url!r} is no address, or the key is no key ({error}); try http://127.0.0.1:5000.") from None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def model(self) -> str:
        """The model's name. Raises PublicanError if there is no server, or it does not want us."""
        try:
            answer = self._http.get("/models")
        except httpx.HTTPError:
            raise PublicanError(f"No server answers at {self.url}; start one with 'publican serve'.") from None
        if answer.is_error:
            raise PublicanError(_complaint(answer))
        try:
            names = [str(model["id"]) for model in answer.json()["data"]]
        except (ValueError, TypeError, KeyError):
            raise self._stranger() from None
        if not names:
            raise PublicanError(f"The server at {self.url} has no model loaded.")
        return names[0]

    def answer(self, messages: list[dict[str, str]], sampling: dict[str, Any]) -> Iterator[str]:
        """The pieces of an answer, as they come."""
        body = {"messages": messages, "stream": True, **sampling}
        try:
            with self._http.stream("POST", "/chat/completions", json=body) as response:
                if response.is_error:
                    response.read()
                    raise PublicanError(_complaint(response))
                for line in response.iter_lines():
                    if line.startswith("data:") and line[5:].strip() not in ("", "[DONE]"):
                        yield from _pieces(json.loads(line[5:]))
        except (ValueError, TypeError, AttributeError):
            raise self._stranger() from None
        except httpx.HTTPError as error:
            raise PublicanError(
                f"The connection to {self.url} broke ({error or type(error).__name__}); /retry asks again."
            ) from None

    def _stranger(self) -> PublicanError:
        return PublicanError(f"What answers at {self.url} does not speak OpenAI's API; is it publican?")


def _pieces(chunk: dict[str, Any]) -> Iterator[str]:
    if "error" in chunk:
        error = chunk["error"]
        raise PublicanError(str(error.get("message", error) if isinstance(error, dict) else error))
    for choice in chunk.get("choices", ()):
        text = choice.get("delta", {}).get("content")
        if text:
            yield text


def _complaint(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {response.status_code} {response.reason_phrase}."


class Conversation:
    """What was said, and the loop that goes on saying."""

    def __init__(self, server: Server, system: str | None, sampling: dict[str, Any]) -> None:
        self._server = server
        self._sampling = sampling
        self.messages: list[dict[str, str]] = []
        if system:
            self._set_system(system)

    def run(self) -> None:
        while True:
            try:
                said = _read("\n> ")
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                continue
            if said in ("/quit", "/exit"):
                return
            if said.strip():
                self._take(said)

    def _take(self, said: str) -> None:
        name, _, rest = said.partition(" ")
        match name:
            case "/retry":
                self._retry()
            case "/undo":
                self._drop_last("assistant")
                self._drop_last("user")
            case "/system":
                self._set_system(rest)
            case "/clear":
                self.messages = [m for m in self.messages if m["role"] == "system"]
            case _ if name.startswith("/") and len(name) > 1 and name[1:].isalpha():
                click.echo(click.style(_HELP, dim=True))
            case _:
                self._drop_last("user")  # it was never answered, and perhaps never can be: too long, say
                self.messages.append({"role": "user", "content": said})
                self._answer()

    def _retry(self) -> None:
        self._drop_last("assistant")
        if self.messages and self.messages[-1]["role"] == "user":
            self._answer()
        else:
            click.echo("There is nothing to answer again.")

    def _answer(self) -> None:
        pieces = []
        try:
            for piece in self._server.answer(self.messages, self._sampling):
                pieces.append(piece)
                sys.stdout.write(piece)
                sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo(click.style(" (stopped)", dim=True), nl=False)
        except PublicanError as error:
            click.echo(click.style(str(error), fg="red"), err=True)
        click.echo()
        if pieces:
            self.messages.append({"role": "assistant", "content": "".join(pieces)})

    def _set_system(self, text: str) -> None:
        self.messages = [m for m in self.messages if m["role"] != "system"]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    def _drop_last(self, role: str) -> None:
        if self.messages and self.messages[-1]["role"] == role:
            self.messages.pop()


def _read(prompt: str) -> str:
    """A message; lines that end with a backslash go on. With readline, if the system has it."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what gives input() its history and editing
    lines = [input(prompt)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("… "))
    return "\n".join(lines)
