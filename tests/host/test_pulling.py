"""A pull over the network's seam: steps that come while it runs, an end that is an end, and what strangers may not ask."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.core.backend import PullProgress
from publican.core.errors import InvalidParameter, ModelFileError, Unsupported
from publican.hardware.machine import described_machine
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.pulling import Puller
from publican.store.catalogue import list_models
from publican.store.http.network import Network
from tests.store.fake_hub import FakeHub, Fault, running_hub
from tests.store.pull.models import QUANTS, gguf, quant

MIB = 1 << 20


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def puller(hub: FakeHub, models: Path) -> Puller:
    network = Network(endpoint=hub.endpoint, num_connections=2, backoff_s=0.01, tries=3)
    options = dataclasses.replace(LoadOptions(), num_users=1)
    return Puller(models, network, options, lambda: described_machine((), 8 << 30, 4))


async def steps_of(one: Puller, source: str) -> list[PullProgress]:
    return [step async for step in one.pull(source)]


def test_steps_come_and_the_model_is_there(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", {f"m.{name}.gguf": quant(name) for name in QUANTS})
    steps = asyncio.run(steps_of(puller(hub, tmp_path), "org/repo:latest"))
    texts = [step.text for step in steps]
    assert texts[0] == "looking for it"
    assert any(text.startswith("taking Q8_0: ") for text in texts)
    assert texts[-1] == "m.Q8_0.gguf is here"
    counted = [step for step in steps if step.total_bytes]
    assert counted[-1].num_bytes == counted[-1].total_bytes == len(quant("Q8_0"))
    assert {step.file for step in counted} == {"org/repo:latest"}
    assert [model.name for model in list_models(tmp_path)] == ["org/repo/m.Q8_0"]


def test_going_away_stops_it_and_asking_again_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    data = gguf() + os.urandom(8 * MIB)
    hub.add("org/repo", {"m.Q4_0.gguf": data})
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=8 * MIB)]
    one = puller(hub, tmp_path)

    async def main() -> None:
        steps = one.pull("org/repo")
        async for step in steps:
            if step.num_bytes > 3 * MIB:
                break
        with pytest.raises(Unsupported, match="Another model"):
            await steps_of(one, "org/other")
        await steps.aclose()
        sent = hub.sent_bytes("cdn")
        await asyncio.sleep(0.3)
        assert hub.sent_bytes("cdn") <= sent + MIB, "nothing goes on behind the caller's back"
        hub.faults = []
        begun = next(step for step in await steps_of(one, "org/repo") if step.total_bytes)
        assert begun.num_bytes >= 2 * MIB

    asyncio.run(main())
    assert (tmp_path / "org" / "repo" / "m.Q4_0.gguf").read_bytes() == data


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("/etc/passwd", Unsupported),
        ("http://127.0.0.1:1/x.gguf", Unsupported),
        ("llama3", InvalidParameter),
        ("org/typo", ModelFileError),
    ],
)
def test_what_is_refused(hub: FakeHub, tmp_path: Path, source: str, error: type[Exception]) -> None:
    one = puller(hub, tmp_path)
    with pytest.raises(error):
        asyncio.run(steps_of(one, source))
    hub.add("org/repo", {"m.Q4_0.gguf": gguf(20_000)})
    assert asyncio.run(steps_of(one, "org/repo")), "a refusal does not stand in the way of the next"


def test_a_library_without_a_puller_says_so(tmp_path: Path) -> None:
    library = ModelLibrary(tmp_path, LoadOptions(), ThreadPort, 0)

    async def main() -> None:
        async for _ in library.pull("org/repo"):
            pass

    with pytest.raises(Unsupported, match="does not download"):
        asyncio.run(main())
