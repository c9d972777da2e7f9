"""When a server asks for a pause, and when to stop asking."""

from __future__ import annotations

import asyncio
import time

import pytest

from publican.core.errors import ModelFileError
from publican.store.http.network import Network
from publican.store.http.patience import Gate, Interrupted, Patience, asked_wait_s


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_asked(headers: dict[str, str], wait_s: float | None) -> None:
    assert asked_wait_s(headers, now_s=1_792_567_680.0) == wait_s


def test_pauses_double_and_end() -> None:
    told: list[float] = []
    patience = Patience(Network(tries=4, backoff_s=0.001), "m.gguf", lambda why, wait_s: told.append(wait_s))

    async def main() -> None:
        for _ in range(3):
            await patience.pause(Interrupted("it broke"))
        with pytest.raises(ModelFileError, match=r"m.gguf cannot be fetched: it broke \(4 tries\)"):
            await patience.pause(Interrupted("it broke"))

    asyncio.run(main())
    assert all(0.0005 * 2**i <= wait_s <= 0.001 * 2**i for i, wait_s in enumerate(told))


def test_getting_somewhere_starts_the_count_anew() -> None:
    patience = Patience(Network(tries=2, backoff_s=0.0), "m.gguf")

    async def main() -> None:
        for _ in range(5):
            await patience.pause(Interrupted("it broke"))
            patience.got_somewhere()

    asyncio.run(main())


def test_a_gate_is_closed_for_one_host_and_for_as_long_as_the_longest() -> None:
    async def main() -> float:
        gate = Gate()
        gate.close("a", 0.2)
        gate.close("a", 0.01)
        await gate.passing("b")
        began = time.monotonic()
        await gate.passing("a")
        return time.monotonic() - began

    assert 0.15 < asyncio.run(main()) < 1.0
