"""`publican bench serve` as it is typed: what it prints, and with what status it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from pathlib import Path

from click.testing import CliRunner, Result

from publican.cli.bench import command
from publican.cli.options import LOADING
from publican.settings import flag_of
from tests.bench.server import Behaviour, FakeServer

SMALL = ["--workload", "single", "--max-tokens", "3", "--prompt-tokens", "20", "--users", "1", "--turns", "1"]


@contextlib.contextmanager
def serving(behaviour: Behaviour):
    """The fake server on a loop of its own; gives its address."""
    loop, server = asyncio.new_event_loop(), FakeServer(behaviour)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    try:
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def bench(behaviour: Behaviour, *args: str) -> Result:
    with serving(behaviour) as url:
        return CliRunner().invoke(command, ["serve", url, *SMALL, *args])


def test_a_table_and_json(tmp_path: Path):
    done = bench(Behaviour(), "--json", str(tmp_path / "report.json"))
    assert done.exit_code == 0, done.output
    assert "single" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["model"] == "fake"


def test_failures_are_said_and_end_it_with_a_status():
    done = bench(Behaviour(fails=lambda body, number: "429" if number >= 3 else None))
    assert done.exit_code == 1
    assert "× 429: too many" in done.stderr
    assert "failed" in done.stdout


def test_an_engine_is_timed_with_whatever_says_how_it_is_loaded():
    shown = CliRunner().invoke(command, ["engine", "--help"], terminal_width=200).output
    assert [name for name in LOADING if flag_of(name) not in shown] == []
