"""`Session`: the requests of one errand, with the rules that hold for all of them.

The token goes to the hub's own origin and is dropped at the first step elsewhere; redirects are followed by hand, never
from https to http; a server that asks for a pause gets it from every connection. An async context manager; everything runs
on the event loop that opened it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx

from publican.core.errors import ModelFileError
from publican.store.http.network import Network, make_client
from publican.store.http.patience import TRANSIENT, Gate, Interrupted, Patience, asked_wait_s
from publican.store.http.problems import refusal

MAX_REDIRECTS = 8
MAX_JSON_BYTES = 64 << 20
_DOWNGRADE = "sends us from https to http"


class Session:
    """Sends requests.

    Args:
        notify: told why and for how many seconds, whenever a request has to be repeated.
    """

    def __init__(self, network: Network, notify: Callable[[str, float], None] | None = None) -> None:
        self.network = network
        self.notify = notify
        self._client = make_client(network)
        self._gate = Gate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def patience(self, what: str) -> Patience:
        return Patience(self.network, what, self.notify)

    @asynccontextmanager
    async def open(
        self, url: str, what: str, headers: Mapping[str, str] | None = None, is_link: bool = False
    ) -> AsyncIterator[httpx.Response]:
        """One try at a GET; the answer's body is still to be read, with `chunks`.

        Args:
            what: for errors: ``org/repo``, or ``org/repo/path/to/file``.
            is_link: `url` is where a redirect led before, and may have expired.

        Yields:
            An answer with a status below 300, or 416; its `history` are the redirects that led to it.

        Raises:
            Interrupted: it may work next time.
            ModelFileError: it will not; the text says why.
        """
        response = await self._follow(url, what, headers or {})
        try:
            if response.status_code >= 300 and response.status_code != 416:
                self._refuse(response, is_link or str(response.request.url) != str(httpx.URL(url)), what)
            yield response
        finally:
            await response.aclose()

    async def json(self, url: str, what: str) -> tuple[Any, httpx.Response]:
        """A JSON answer of bounded size, tried until it comes; and the answer's headers and links.

        Raises:
            ModelFileError
        """
        patience = self.patience(what)
        while True:
            try:
                async with self.open(url, what) as response:
                    data = bytearray()
                    async for chunk in chunks(response):
                        data += chunk
                        if len(data) > MAX_JSON_BYTES:
                            raise ModelFileError(f"What the hub says about {what} is longer than {MAX_JSON_BYTES >> 20} MiB.")
                return json.loads(data), response
            except Interrupted as reason:
                await patience.pause(reason)
            except (ValueError, RecursionError):
                raise ModelFileError(
                    f"What {httpx.URL(url).host} says about {what} is not JSON; check HF_ENDPOINT and the proxy."
                ) from None

    async def _follow(self, start: str, what: str, headers: Mapping[str, str]) -> httpx.Response:
        passed: list[httpx.Response] = []
        try:
            url = httpx.URL(start)
            for _ in range(MAX_REDIRECTS + 1):
                response = await self._send(url, what, headers)
                location = response.headers.get("location")
                if not 300 <= response.status_code < 400 or location is None:
                    response.history = passed
                    return response
                await response.aclose()
                passed.append(response)
                target = url.join(location)
                if url.scheme == "https" and target.scheme != "https":
                    raise ModelFileError(f"{what} cannot be fetched: {url.host} {_DOWNGRADE}; use another mirror.")
                url = target
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ModelFileError(f"{what} cannot be fetched: the address is not one of the web ({error}).") from None
        raise ModelFileError(f"{what} cannot be fetched: {url.host} redirects for ever; check the address.")

    async def _send(self, url: httpx.URL, what: str, headers: Mapping[str, str]) -> httpx.Response:
        """One request. What is translated here is all that httpx raises before a body is read."""
        if self.network.offline:
            raise ModelFileError(f"{what} is not on this machine and publican is offline; pull it without --offline.")
        await self._gate.passing(url.host)
        request = self._client.build_request("GET", url, headers=dict(headers))
        if self.network.token is not None and self.network.is_home(url):
            request.headers["Authorization"] = f"Bearer {self.network.token}"
        try:
            return await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol):
                raise
            raise _interruption(error, url.host) from None

    def _refuse(self, response: httpx.Response, is_link: bool, what: str) -> None:
        """Raise what a status means: an expired link after a redirect is fetched anew, as is whatever passes by waiting."""
        status, url = response.status_code, response.request.url
        if status in TRANSIENT:
            wait_s = asked_wait_s(response.headers)
            if wait_s is not None and wait_s <= self.network.longest_wait_s:
                self._gate.close(url.host, wait_s)
            raise Interrupted(f"{url.host} answers with status {status}", wait_s)
        if status in (401, 403, 404, 410) and is_link and not self.network.is_home(url):
            raise Interrupted(f"{url.host} no longer accepts the link that it was given (status {status})")
        raise ModelFileError(refusal(status, response.headers, url, self.network, what))


async def chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes, never decompressed.

    Raises:
        Interrupted: it broke off or stalled.
    """
    encoding = response.headers.get("content-encoding", "identity")
    if encoding not in ("", "identity"):
        raise Interrupted(f"{response.request.url.host} (or a proxy) compresses with {encoding[:20]!r} what must come as it is")
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        raise _interruption(error, response.request.url.host) from None


def _interruption(error: httpx.TransportError, host: str) -> Exception:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ModelFileError(
                f"{host} shows a certificate that this machine does not trust ({cause.verify_message}); "
                "if a proxy of yours makes them, set SSL_CERT_FILE to its certificates."
            )
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ProxyError():
            return Interrupted(f"the proxy refuses to reach {host} ({_short(error)})")
        case httpx.ReadTimeout():
            return Interrupted(f"{host} sends nothing any more")
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Interrupted(f"{host} cannot be reached; check the network ({_short(error)})")
        case _:
            return Interrupted(f"the connection to {host} broke off ({_short(error)})")


def _short(error: Exception) -> str:
    return str(error).rstrip(".")[:120] or type(error).__name__
