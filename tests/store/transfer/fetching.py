"""What the tests of transfers share: items of a fake hub, and a transfer of them that may be cut short."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from publican.store.http.network import Network
from publican.store.http.session import Session
from publican.store.hub.client import Hub
from publican.store.transfer.events import Event
from publican.store.transfer.task import Item
from publican.store.transfer.transfer import Fetched, transfer
from tests.store.fake_hub import FakeHub

REPO = "org/repo"
MIB = 1 << 20


def network(hub: FakeHub, **settings: Any) -> Network:
    quick = Network(endpoint=hub.endpoint, num_connections=4, connect_s=5, stall_s=5, backoff_s=0.01)
    return dataclasses.replace(quick, **settings)


async def items_of(hub: FakeHub, session: Session, revision: str = "main") -> list[Item]:
    client = Hub(session)
    snapshot = await client.snapshot(REPO, revision)
    return [Item(client.open(snapshot, file), file.path, file.num_bytes, file.digest) for file in snapshot.files]


def fetch(
    hub: FakeHub,
    folder: Path,
    watch: Callable[[Event], None] = lambda event: None,
    stop_after: int | None = None,
    **settings: Any,
) -> list[Fetched]:
    """Fetch all of REPO; with `stop_after`, cancel as Ctrl-C would once so many bytes are here, and return nothing."""

    async def main() -> list[Fetched]:
        async with Session(network(hub, **settings)) as session:
            items = await items_of(hub, session)
            running = asyncio.ensure_future(transfer(items, folder, session, watch))
            if stop_after is None:
                return await running
            while hub.sent_bytes("cdn") < stop_after and not running.done():
                await asyncio.sleep(0.005)
            running.cancel()
            await asyncio.wait([running])
            return []

    return asyncio.run(main())
