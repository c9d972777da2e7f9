"""Downloads through everything that goes wrong: what arrives is what the hub has, and nothing is fetched twice for nothing."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError
from publican.store.transfer.events import FileDone, Progress, Repairing, Waiting
from publican.store.transfer.part import PartFile
from publican.store.transfer.pieces import Layout
from tests.store.fake_hub import FakeHub, Fault, running_hub
from tests.store.transfer.fetching import MIB, REPO, fetch

DATA = os.urandom(20 * MIB + 12_345)
SMALL = b'{"model_type": "llama"}'


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        hub.add(REPO, {"config.json": SMALL, "model.safetensors": DATA})
        yield hub


def check(fetched: list, folder: Path) -> None:
    small, large = fetched
    assert small.path.read_bytes() == SMALL
    assert large.path.read_bytes() == DATA
    assert not [path for path in folder.iterdir() if path.suffix in (".part", ".journal")]


def test_several_connections_bring_a_file(hub: FakeHub, tmp_path: Path) -> None:
    events = []
    check(fetch(hub, tmp_path, events.append), tmp_path)
    ranges = [seen for seen in hub.requests("cdn") if "range" in seen.headers]
    assert len(ranges) >= 4
    assert hub.sent_bytes("cdn") == len(DATA)
    assert [event.name for event in events if isinstance(event, FileDone)] == ["config.json", "model.safetensors"]
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[0].here_bytes == 0
    assert progress[-1].here_bytes == progress[-1].total_bytes == len(DATA) + len(SMALL)
    assert all(a.here_bytes <= b.here_bytes for a, b in itertools.pairwise(progress))


def test_what_is_whole_is_not_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    before = hub.sent_bytes("cdn")
    check(fetch(hub, tmp_path), tmp_path)
    assert hub.sent_bytes("cdn") == before


def test_the_link_is_asked_for_once(hub: FakeHub, tmp_path: Path) -> None:
    """The hub counts requests; ranges go straight to where the first was sent."""
    fetch(hub, tmp_path)
    assert len(hub.requests("hub .*/resolve/.*model")) <= 4  # one for each connection that began before the first answer


def test_drops_at_random_bytes(hub: FakeHub, tmp_path: Path) -> None:
    chance = random.Random(7)
    hub.faults = [Fault("cdn ", drop_after=chance.randrange(0, MIB)) for _ in range(25)]
    check(fetch(hub, tmp_path), tmp_path)
    assert all(fault.times == 0 for fault in hub.faults)
    assert hub.sent_bytes("cdn") < len(DATA) + 25 * 2 * 65_536, "what a broken connection brought is kept"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cdn ", times=6, status=500),
        Fault("cdn ", times=3, status=429, headers={"Retry-After": "0"}),
        Fault("cdn ", times=3, status=503),
        Fault("cdn ", times=6, cut_headers=True),
        Fault("cdn ", times=3, shift_range=1000),
        Fault("cdn ", times=3, page=b"<html>Please log in to the hotel's network</html>"),
        Fault("cdn ", times=3, gzip=True),
        Fault("cdn ", times=2, longer=5_000),
        Fault("hub .*resolve", times=3, status=502),
        Fault("hub /api", times=3, status=504),
        Fault("hub /api", times=2, cut_headers=True),
    ],
    ids=lambda fault: (
        f"{fault.match}{fault.status or ''}{fault.headers or ''}{fault.page or ''}{fault.longer or fault.shift_range}"
    ),
)
def test_what_passes_is_waited_for(hub: FakeHub, tmp_path: Path, fault: Fault) -> None:
    hub.faults = [fault]
    events = []
    check(fetch(hub, tmp_path, events.append), tmp_path)
    assert fault.times == 0


def test_retry_after_is_honoured_by_every_connection(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", skip=4, status=429, headers={"Retry-After": "1"})]
    events = []
    started = time.monotonic()
    check(fetch(hub, tmp_path, events.append, num_connections=2), tmp_path)
    assert time.monotonic() - started >= 1.0


def test_a_pause_that_is_too_long_is_said(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, status=429, headers={"Retry-After": "86400"})]
    with pytest.raises(ModelFileError, match="asks to wait 86,400 seconds"):
        fetch(hub, tmp_path)


def test_giving_up_says_what_was_tried(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, status=500)]
    with pytest.raises(ModelFileError, match=r"status 500 \(4 tries\)"):
        fetch(hub, tmp_path, tries=4)


def test_stalls_time_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=3, stall_after=100_000, stall_s=20)]
    events = []
    started = time.monotonic()
    check(fetch(hub, tmp_path, events.append, stall_s=0.5), tmp_path)
    assert time.monotonic() - started < 10
    assert hub.sent_bytes("cdn") < len(DATA) + 3 * MIB


def test_a_server_that_drips_is_not_waited_for_for_ever(hub: FakeHub, tmp_path: Path) -> None:
    """One byte a connection is no progress."""
    hub.faults = [Fault("cdn ", times=-1, drop_after=1)]
    with pytest.raises(ModelFileError, match="tries"):
        fetch(hub, tmp_path, tries=3)


def test_links_expire(hub: FakeHub, tmp_path: Path) -> None:
    fired = []

    def watch(event: object) -> None:
        if isinstance(event, Progress) and event.here_bytes > 3 * MIB and not fired:
            fired.append(True)
            hub.expire_links()

    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=8 * MIB)]
    check(fetch(hub, tmp_path, watch), tmp_path)
    assert fired


def test_a_server_without_ranges(hub: FakeHub, tmp_path: Path) -> None:
    """One connection brings the file from its beginning; an answer of 200 is never written where the range should go."""
    hub.faults = [Fault("cdn ", times=-1, ignore_range=True)]
    check(fetch(hub, tmp_path), tmp_path)
    assert hub.sent_bytes("cdn") < 5 * len(DATA)


def test_a_server_without_ranges_that_breaks_off(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [
        Fault("cdn ", times=2, ignore_range=True, drop_after=9 * MIB),
        Fault("cdn ", times=-1, ignore_range=True),
    ]
    check(fetch(hub, tmp_path, num_connections=1), tmp_path)


def test_a_server_that_forgets_about_ranges_for_a_while(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=3, skip=1, ignore_range=True, drop_after=5 * MIB)]
    check(fetch(hub, tmp_path), tmp_path)


def test_interrupted_it_goes_on_inside_the_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=20 * MIB)]
    fetch(hub, tmp_path, stop_after=9 * MIB)
    first = hub.sent_bytes("cdn")
    assert 8 * MIB <= first < len(DATA)
    hub.seen.clear()
    events = []
    check(fetch(hub, tmp_path, events.append), tmp_path)
    begun = next(event for event in events if isinstance(event, Progress))
    assert begun.here_bytes > 4 * MIB
    assert hub.sent_bytes("cdn") <= len(DATA) - begun.here_bytes + len(SMALL)


def test_interrupted_many_times(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=20 * MIB)]
    for _ in range(3):
        hub.seen.clear()
        fetch(hub, tmp_path, stop_after=5 * MIB, num_connections=2)
    check(fetch(hub, tmp_path), tmp_path)


KILLED = """
import asyncio, sys
from pathlib import Path
from publican.store.http.network import Network
from publican.store.http.session import Session
from publican.store.transfer.transfer import transfer
from tests.store.transfer.fetching import items_of
async def main():
    async with Session(Network(endpoint=sys.argv[1], num_connections=2)) as session:
        items = await items_of(None, session)
        print("go", flush=True)
        await transfer(items, Path(sys.argv[2]), session, lambda event: None)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_killed_in_the_middle_nothing_is_lost(hub: FakeHub, tmp_path: Path) -> None:
    """kill -9 again and again at random moments; each start goes on from what the last one had, and the hash is right."""
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=10 * MIB)]
    chance, had = random.Random(3), 0
    for _ in range(3):
        hub.seen.clear()
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, hub.endpoint, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        assert process.stdout is not None
        process.stdout.readline()
        wanted = chance.randrange(4 * MIB, 6 * MIB)
        while hub.sent_bytes("cdn") < wanted and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        sent = hub.sent_bytes("cdn")
        here = recorded_bytes(tmp_path)
        assert here >= had, "nothing that was recorded is lost"
        assert here >= had + sent - 2 * (MIB + 1_500_000), "at most a piece for each connection, and what was on its way"
        had = here
    hub.seen.clear()
    hub.faults = []
    check(fetch(hub, tmp_path), tmp_path)
    assert hub.sent_bytes("cdn") == len(DATA) - had


def recorded_bytes(folder: Path) -> int:
    (journal,) = (path for path in folder.glob("*.journal") if path.stat().st_size > 70)
    from publican.store.transfer.journal import Journal

    layout = Layout(len(DATA))
    copy = folder / "copy"
    shutil.copy(journal, copy)
    with copy.open("r+b") as file:
        resumed = Journal.resume(file, layout, bytes.fromhex(journal.stem))
    copy.unlink()
    assert resumed is not None
    return sum(layout.size(piece) for piece in resumed[1].crcs)


def test_what_the_disk_changed_is_found_and_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    """After a loss of power pieces behind the last barrier are looked at, and bad ones fetched anew at once."""
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=20 * MIB)]
    fetch(hub, tmp_path, stop_after=9 * MIB)
    (part,) = (path for path in tmp_path.glob("*.part") if path.stat().st_size == len(DATA))
    with part.open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"\0" * 4096)
    hub.faults, before = [], recorded_bytes(tmp_path)
    hub.seen.clear()
    check(fetch(hub, tmp_path), tmp_path)
    assert hub.sent_bytes("cdn") == len(DATA) - before + MIB


def test_a_disk_that_lies_behind_the_barrier_is_caught_by_the_hash(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=20 * MIB)]
    fetch(hub, tmp_path, stop_after=9 * MIB)
    (part,) = (path for path in tmp_path.glob("*.part") if path.stat().st_size == len(DATA))
    open_part = PartFile.open(part.with_suffix(""), Layout(len(DATA)), bytes.fromhex(part.stem))
    open_part.sync()
    open_part.close()
    with part.open("r+b") as file:
        file.seek(700_000)
        file.write(b"oops")
    hub.faults, before = [], recorded_bytes(tmp_path)
    hub.seen.clear()
    events = []
    check(fetch(hub, tmp_path, events.append), tmp_path)
    (repair,) = (event for event in events if isinstance(event, Repairing))
    assert repair.num_pieces == 1
    assert hub.sent_bytes("cdn") == len(DATA) - before + MIB


@pytest.mark.parametrize("offset", [0, 3 * MIB + 5, len(DATA) - 1])
def test_bytes_that_came_wrong_are_found_without_starting_over(hub: FakeHub, tmp_path: Path, offset: int) -> None:
    """The hub's hash says only that something is wrong; comparing pieces finds it, and no more than needed is fetched."""
    hub.faults = [Fault("cdn ", times=8, corrupt=(offset,))]
    events = []

    def watch(event: object) -> None:
        events.append(event)
        if isinstance(event, Repairing):
            hub.faults = []

    check(fetch(hub, tmp_path, watch, num_connections=2), tmp_path)
    assert any(isinstance(event, Repairing) for event in events)
    if offset < 8 * MIB:
        assert hub.sent_bytes("cdn") == len(DATA) + 8 * MIB, "the first window had it"
    assert hub.sent_bytes("cdn") <= 2 * len(DATA)


def test_pieces_at_which_a_connection_broke_are_looked_at_first(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", skip=1, drop_after=MIB + 70_000, corrupt=tuple(range(17 * MIB, 17 * MIB + 5)))]
    hub.faults += [Fault("cdn ", times=3, corrupt=tuple(range(17 * MIB, 17 * MIB + 5)), drop_after=700_000)]
    hub.faults += [Fault("cdn ", times=20, corrupt=tuple(range(17 * MIB, 17 * MIB + 5)))]
    events = []

    def watch(event: object) -> None:
        events.append(event)
        if isinstance(event, Repairing):
            hub.faults = []

    check(fetch(hub, tmp_path, watch, num_connections=1), tmp_path)
    repairs = [event.num_pieces for event in events if isinstance(event, Repairing)]
    assert repairs[0] < 8


def test_a_server_that_is_always_wrong_leaves_nothing(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn ", times=-1, corrupt=(5,))]
    with pytest.raises(ModelFileError, match="not to be trusted"):
        fetch(hub, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size > MIB], "a wrong file is not kept"
    assert hub.sent_bytes("cdn") <= 2 * len(DATA) + MIB


def test_git_hashes_hold_small_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults = [Fault("hub .*config.json", times=1, corrupt=(3,))]
    check(fetch(hub, tmp_path), tmp_path)


def test_no_room_is_known_before_a_byte(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, int(1.04 * len(DATA))))
    with pytest.raises(ModelFileError, match="make room"):
        fetch(hub, tmp_path)
    assert hub.sent_bytes("cdn") == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, int(1.06 * len(DATA))))
    fetch(hub, tmp_path)


def test_two_at_once_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, stop_after=1)
    (part,) = (path for path in tmp_path.glob("*.part") if path.stat().st_size == len(DATA))
    other = PartFile.open(part.with_suffix(""), Layout(len(DATA)), bytes.fromhex(part.stem))
    try:
        with pytest.raises(ModelFileError, match="Another publican"):
            fetch(hub, tmp_path)
    finally:
        other.close()
    check(fetch(hub, tmp_path), tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_link_in_the_way_is_not_followed(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, stop_after=1)
    (part,) = (path for path in tmp_path.glob("*.part") if path.stat().st_size == len(DATA))
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    part.unlink()
    part.symlink_to(victim)
    with pytest.raises(ModelFileError, match="cannot be written"):
        fetch(hub, tmp_path)
    assert victim.read_bytes() == b"mine"


def test_the_rate_is_held(hub: FakeHub, tmp_path: Path) -> None:
    hub.add(REPO, {"config.json": DATA[: 2 * MIB]})
    started = time.monotonic()
    fetch(hub, tmp_path, max_bytes_per_s=2 * MIB)
    assert 0.8 < time.monotonic() - started < 4


def test_a_file_that_changes_at_a_loose_address(hub: FakeHub, tmp_path: Path) -> None:
    """Without a hash the server's own tag must stay the same, or two files would be mixed."""
    import asyncio

    from publican.store.http.remote_file import RemoteFile
    from publican.store.http.session import Session
    from publican.store.transfer.task import Item
    from publican.store.transfer.transfer import transfer
    from tests.store.transfer.fetching import network

    class Replaced(dict[str, bytes]):
        """Served twice, to whoever looks at its start and for the first of its ranges; another file from then on."""

        num_served = 0

        def get(self, key: str, default: bytes | None = None) -> bytes:  # type: ignore[override]
            self.num_served += 1
            return DATA if self.num_served <= 2 else DATA[:-1] + b"!"

    hub.loose = Replaced()

    async def main() -> None:
        async with Session(network(hub)) as session:
            remote = RemoteFile(session, f"{hub.cdn_url}/loose/x.gguf", "x.gguf")
            await remote.read(0, 16)
            await transfer([Item(remote, "x.gguf", len(DATA), None, "x")], tmp_path, session, lambda event: None)

    with pytest.raises(ModelFileError, match="another file now"):
        asyncio.run(main())


def test_waiting_is_told(hub: FakeHub, tmp_path: Path) -> None:
    from publican.store.http import session as module

    told: list[Waiting] = []
    original = module.Session.__init__

    def patched(self, network, notify=None):
        original(self, network, lambda why, wait_s: told.append(Waiting(why, wait_s)))

    hub.faults = [Fault("cdn ", times=1, status=500)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Session, "__init__", patched)
        fetch(hub, tmp_path)
    assert "status 500" in told[0].why
