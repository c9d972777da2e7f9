"""`RemoteFile`: one file on a server, read by ranges that are checked before a byte of them is believed.

A redirect to a signed link is followed once and the link kept until it expires. A server that knows no ranges answers with
the whole file, and `Body.start` says so. Used on one event loop; several ranges may be open at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from publican.core.errors import ModelFileError
from publican.store.http.patience import Interrupted
from publican.store.http.session import Session, chunks
from publican.store.http.stated_hash import stated_sha256

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes on their way, from `start` of the file on. Not `ranged`: the server ignored the range and sends the whole file."""

    start: int
    ranged: bool
    chunks: AsyncIterator[bytes]


class RemoteFile:
    """A file at `url`.

    Args:
        what: for errors: ``org/repo/model.gguf``.
        num_bytes: its size where it is known beforehand; None until the first answer.
        pinned: the address can only ever mean this one content (a commit's), so that tags, which differ from one server of
            a network to the next, say nothing.

    `sha256` is what the answers so far state of the whole file.
    """

    def __init__(self, session: Session, url: str, what: str, num_bytes: int | None = None, pinned: bool = False) -> None:
        self.url = url
        self.what = what
        self.num_bytes = num_bytes
        self.etag: str | None = None
        self.sha256: str | None = None
        self.disposition = ""
        self.knows_ranges = True
        self._pinned = pinned
        self._session = session
        self._link: str | None = None
        self._states_parts = False

    @asynccontextmanager
    async def open(self, start: int, end: int) -> AsyncIterator[Body]:
        """The bytes from `start` to before `end`.

        Raises:
            Interrupted: try again; also what the body's chunks raise.
            ModelFileError: it cannot be had, or is another file than it was.
        """
        headers = {"Range": f"bytes={start}-{end - 1}"}
        if self.etag is not None:
            headers["If-Range"] = self.etag
        link = self._link
        try:
            async with self._session.open(link or self.url, self.what, headers, is_link=link is not None) as response:
                self._keep_link(response)
                first, limit = self._check(response, start, end)
                self._take_hash(response)
                ranged = response.status_code == 206 or (start == 0 and limit <= end)
                self.knows_ranges = ranged
                yield Body(first, ranged, _within(response, limit))
        except Interrupted:
            self.forget_link()  # whatever is wrong there, the front door may know a better place
            raise

    def forget_link(self) -> None:
        self._link = None

    async def read(self, start: int, num_bytes: int) -> bytes:
        """A small range whole, tried until it comes; shorter only where the file ends.

        Raises:
            ModelFileError
        """
        patience = self._session.patience(self.what)
        while True:
            data = bytearray()
            try:
                async with self.open(start, start + num_bytes) as body:
                    async for chunk in body.chunks:
                        data += chunk
                        if len(data) >= start - body.start + num_bytes:
                            break
                    skip = start - body.start
                wanted = min(num_bytes, max(0, (self.num_bytes or 0) - start))
                if len(data) - skip < wanted:
                    raise Interrupted(f"{httpx.URL(self.url).host} breaks off early")
                return bytes(data[skip : skip + num_bytes])
            except Interrupted as reason:
                await patience.pause(reason)

    def _keep_link(self, response: httpx.Response) -> None:
        url = response.request.url
        self._link = None if self._session.network.is_home(url) else str(url)
        self.disposition = response.headers.get("content-disposition", self.disposition)

    def _check(self, response: httpx.Response, start: int, end: int) -> tuple[int, int]:
        """Where the body begins in the file, and how many bytes it may have, if it is a part of our file at all."""
        host = response.request.url.host
        if response.status_code == 416:
            raise self._changed(host)
        if response.status_code == 206:
            match = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if match is None:
                raise Interrupted(f"{host} answers with a range and does not say which")
            first, last, total = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
            self._take_size(total, host)
            if first != start or last >= end or last < first:
                raise Interrupted(f"{host} answers with another range than it was asked for")
            self._take_etag(response)
            return start, last - first + 1
        if self.etag is not None and response.headers.get("etag") not in (None, self.etag):
            raise self._changed(host)
        length = response.headers.get("content-length", "")
        if self.num_bytes is not None and length.isdecimal() and int(length) != self.num_bytes:
            raise Interrupted(f"{host} answers with {int(length):,} bytes that are not the file")
        self._take_size(int(length) if length.isdecimal() else None, host)
        self._take_etag(response)
        return 0, self.num_bytes if self.num_bytes is not None else 1 << 62

    def _take_size(self, num_bytes: int | None, host: str) -> None:
        if num_bytes is None:
            return
        if self.num_bytes is not None and num_bytes != self.num_bytes:
            raise self._changed(host)
        self.num_bytes = num_bytes

    def _take_etag(self, response: httpx.Response) -> None:
        """Only a strong tag of the place that sends the bytes says whether they are still the same."""
        etag = response.headers.get("etag")
        if etag and not etag.startswith("W/") and self.etag is None and not self._pinned:
            self.etag = etag

    def _take_hash(self, response: httpx.Response) -> None:
        """Some servers state the hash of what they send instead of the file's: it changes from one answer to the next."""
        for each in (*response.history, response):
            stated = stated_sha256(each.headers)
            if stated is not None and stated != self.sha256:
                self._states_parts = self._states_parts or self.sha256 is not None
                self.sha256 = None if self._states_parts else stated

    def _changed(self, host: str) -> ModelFileError:
        return ModelFileError(f"{self.what} is another file now than when this began ({host} says so); pull it again.")


async def _within(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    num_bytes = 0
    async for chunk in chunks(response):
        num_bytes += len(chunk)
        if num_bytes > limit:
            raise Interrupted(f"{response.request.url.host} sends more bytes than the file has")
        yield chunk
