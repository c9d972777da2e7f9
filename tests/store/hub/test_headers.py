"""Headers read from afar are the headers read from the disk, and cost what they are long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError
from publican.store.gguf import read_gguf, read_header
from publican.store.http.network import Network
from publican.store.http.remote_file import RemoteFile
from publican.store.http.session import Session
from publican.store.hub.headers import MAX_PREFIX_BYTES, PrefixSource, parse_remote
from tests.store.fake_hub import FakeHub, Fault, running_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def parsed(hub: FakeHub, parse: Callable[[PrefixSource], object]) -> object:
    async def main() -> object:
        async with Session(Network(endpoint=hub.endpoint, backoff_s=0.01, tries=4)) as session:
            return await parse_remote(RemoteFile(session, f"{hub.cdn_url}/loose/m.gguf", "m.gguf"), parse)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault("cdn", times=2, status=503)],
        [Fault("cdn", times=2, drop_after=100_000)],
        [Fault("cdn", times=2, ignore_range=True)],
        [Fault("cdn", cut_headers=True), Fault("cdn", gzip=True)],
    ],
    ids=["sound", "503", "drops", "no ranges", "nonsense"],
)
def test_the_default_model_from_afar(hub: FakeHub, default_model: Path, faults: list[Fault]) -> None:
    hub.loose["m.gguf"] = default_model.read_bytes()
    hub.faults = faults
    header = parsed(hub, lambda source: read_header(source, default_model))
    assert header == read_gguf(default_model)
    if not faults:
        assert hub.sent_bytes("cdn") < 8_000_000, "of 98 megabytes"


def test_a_header_that_never_ends_is_given_up(hub: FakeHub) -> None:
    hub.loose["m.gguf"] = b"GGUF" + bytes(1000)
    asked = []

    def endless(source: PrefixSource) -> None:
        asked.append(source.size)
        source.read(0, MAX_PREFIX_BYTES + 1)

    hub.loose["m.gguf"] = bytes(MAX_PREFIX_BYTES + 2)
    with pytest.raises(ModelFileError, match="larger than 80 MiB"):
        parsed(hub, endless)
    assert len(asked) == 1
    assert hub.sent_bytes("cdn") < 4_000_000
