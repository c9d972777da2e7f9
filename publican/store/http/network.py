"""`Network`: how this machine reaches the hub and the rest of the world. Everything is handed in; no environment is read.

Made by `cli` (or a test), used by `store.http.session`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from publican import __version__
from publican.core.errors import SettingsError

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach servers.

    Attributes:
        endpoint: the hub, or a mirror that speaks as it does; scheme, host, port and perhaps a path.
        token: of the hub; it goes to `endpoint`'s origin and nowhere else.
        proxies: URL patterns as httpx's mounts have them (``https://``, ``all://*.lan``) to a proxy's URL, None for none.
        ca_file: certificates to trust instead of the usual ones.
        offline: refuse to send anything.
        num_connections: ranges that are fetched at once.
        max_bytes_per_s: of everything together; None is as fast as it goes.
        connect_s, stall_s: how long to wait for a connection, and for the next byte.
        tries: how often something is tried without getting anywhere, before giving up.
        backoff_s: the first pause between two tries; it doubles.
        longest_wait_s: a server that asks for a longer pause than this is taken to mean no.
    """

    endpoint: str = HUB
    token: str | None = field(default=None, repr=False)
    proxies: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    offline: bool = False
    num_connections: int = 8
    max_bytes_per_s: int | None = None
    connect_s: float = 15.0
    stall_s: float = 30.0
    tries: int = 8
    backoff_s: float = 1.0
    longest_wait_s: float = 600.0

    def __post_init__(self) -> None:
        url = _url(self.endpoint, "The hub's address")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
            raise SettingsError(f"The hub's address {self.endpoint!r:.80} is not like {HUB}; correct HF_ENDPOINT.")
        object.__setattr__(self, "endpoint", self.endpoint.rstrip("/"))

    def is_home(self, url: httpx.URL) -> bool:
        """Whether `url` is at the hub itself, so that the token may go there."""
        return origin_of(url) == origin_of(httpx.URL(self.endpoint))


def origin_of(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port, as browsers compare them."""
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def make_client(network: Network) -> httpx.AsyncClient:
    """A client that follows nothing by itself and reads no environment.

    Raises:
        SettingsError: a proxy's address or the certificates' file is wrong.
    """
    limits = httpx.Limits(max_connections=network.num_connections + 4, max_keepalive_connections=network.num_connections + 4)
    verify = _certificates(network.ca_file)
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for pattern, proxy in network.proxies.items():
        mounts[pattern] = httpx.AsyncHTTPTransport(verify=verify, limits=limits, proxy=_proxy(proxy)) if proxy else None
    return httpx.AsyncClient(
        verify=verify,
        limits=limits,
        mounts=mounts,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(network.stall_s, connect=network.connect_s, pool=None),
        headers={"User-Agent": f"publican/{__version__}", "Accept-Encoding": "identity"},
    )


def _url(text: str, what: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{what} {text!r:.80} is not a URL ({error}); correct it.") from None


def _proxy(address: str) -> httpx.Proxy:
    if address.startswith("socks"):
        raise SettingsError("A SOCKS proxy is set, which publican cannot use; set HTTPS_PROXY to an HTTP proxy.")
    try:
        return httpx.Proxy(_url(address if "://" in address else f"http://{address}", "The proxy's address"))
    except ValueError as error:
        raise SettingsError(f"The proxy's address cannot be used ({error}); correct HTTPS_PROXY.") from None


def _certificates(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"The certificates in {ca_file} cannot be read ({error}); correct SSL_CERT_FILE.") from None
