"""`publican pull` as people and programs use it, killed in the middle included."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.cli.network import network_from
from publican.core.errors import SettingsError
from publican.store.http.network import HUB
from tests.cli.pulling import run, start
from tests.store.fake_hub import FakeHub, Fault, running_hub
from tests.store.pull.models import QUANTS, folder, gguf, quant

MIB = 1 << 20


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        hub.add("org/repo", {f"m.{name}.gguf": quant(name) for name in QUANTS})
        yield hub


def test_a_table_a_reason_and_the_path(hub: FakeHub, tmp_path: Path) -> None:
    status, out, err = run(hub, tmp_path, "pull", "org/repo", "--users", "2", COLUMNS="160")
    assert status == 0, err
    assert out == f"{tmp_path}/models/org/repo/m.Q8_0.gguf\n"
    assert "→  Q8_0" in err
    assert "yes" in err
    assert "context for 2 users" in err
    assert "Q8_0: 8.6 bits per weight, the most that fit in" in err
    assert "✓ m.Q8_0.gguf is here, verified" in err
    status, out, err = run(hub, tmp_path, "pull", "org/repo")
    assert (status, "was here already" in err) == (0, True)


def test_lines_for_programs(hub: FakeHub, tmp_path: Path) -> None:
    status, out, err = run(hub, tmp_path, "pull", "org/repo:q4", "--json")
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["event"] == "chose"
    assert events[0]["commit"] == hub.repos["org/repo"].revisions["main"]
    assert {"progress", "filedone"} <= {event["event"] for event in events}
    assert events[-1] == {
        "event": "done",
        "path": f"{tmp_path}/models/org/repo/m.Q4_K_M.gguf",
        "num_fetched_bytes": len(quant("Q4_K_M")),
    }


def test_a_dry_run_takes_nothing(hub: FakeHub, tmp_path: Path) -> None:
    status, _, err = run(hub, tmp_path, "pull", "org/repo", "--dry-run", COLUMNS="160")
    assert status == 0, err
    assert "Q2_K" in err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("org/typo",), "no public repository org/typo"),
        (("just-a-name",), "names no owner"),
        (("org/repo:Q5_K_M",), "neither a quant nor a branch"),
        (("org/repo", "--offline"), "offline"),
        (("org/repo", "--limit-rate", "fast"), "--limit-rate"),
    ],
)
def test_what_goes_wrong_is_one_line(hub: FakeHub, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    status, out, err = run(hub, tmp_path, "pull", *words)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_stopped_in_the_middle_of_a_file_it_goes_on_there(hub: FakeHub, tmp_path: Path, how: signal.Signals) -> None:
    data = gguf() + os.urandom(48 * MIB)
    hub.add("org/large", {"m.Q4_0.gguf": data})
    hub.faults = [Fault("cdn ", times=-1, bytes_per_s=2 * MIB)]  # each of eight connections: three seconds for all of it
    sent = []
    for _ in range(2):
        hub.seen.clear()
        with start(hub, tmp_path, "pull", "org/large") as process:
            while hub.sent_bytes("cdn") < 9 * MIB and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(how)
            _, err = process.communicate(timeout=20)
            assert process.returncode == (-9 if how == signal.SIGKILL else 130)
            assert ("goes on from here" in err) == (how == signal.SIGINT)
        sent.append(hub.sent_bytes("cdn"))
    hub.seen.clear()
    hub.faults = []
    status, out, err = run(hub, tmp_path, "pull", "org/large")
    assert status == 0, err
    assert Path(out.strip()).read_bytes() == data
    last = hub.sent_bytes("cdn")
    assert last < len(data) - sum(sent) + 2 * 9 * (MIB + 256_000), "what had come was not fetched again"
    assert last < len(data) - 2 * MIB
    assert not list((tmp_path / "models").rglob("*.part"))


def test_the_token_is_the_hubs_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/gated", folder(), gated=True)
    status, _, err = run(hub, tmp_path, "pull", "org/gated")
    assert (status, "HF_TOKEN" in err) == (1, True)
    status, _, err = run(hub, tmp_path, "pull", "org/gated", HF_TOKEN="hf_good")
    assert status == 0, err
    assert hub.requests("cdn")
    assert not any("authorization" in seen.headers for seen in hub.requests("cdn"))


def test_the_network_as_the_environment_has_it(tmp_path: Path) -> None:
    plain = network_from({}, tmp_path)
    assert (plain.endpoint, plain.token, plain.proxies, plain.offline) == (HUB, None, {}, False)
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text("hf_login\n")
    assert network_from({}, tmp_path).token == "hf_login"
    assert network_from({"HF_TOKEN": " hf_x "}, tmp_path).token == "hf_x"
    assert network_from({"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "https://mirror.lan/hub/"}, tmp_path).offline
    assert network_from({"HF_ENDPOINT": "https://mirror.lan/hub/"}, tmp_path).endpoint == "https://mirror.lan/hub"
    assert "hf_login" not in repr(network_from({}, tmp_path))
    with pytest.raises(SettingsError, match="HF_TOKEN"):
        network_from({"HF_TOKEN": "hf_\nx"}, tmp_path)


def test_proxies(tmp_path: Path) -> None:
    proxies = network_from(
        {"HTTPS_PROXY": "http://p:1", "http_proxy": "q:2", "no_proxy": "lan, .corp,10.0.0.1"}, tmp_path
    ).proxies
    assert proxies == {
        "https://": "http://p:1", "http://": "q:2", "all://lan": None, "all://*.lan": None, "all://corp": None,
        "all://*.corp": None, "all://10.0.0.1": None,
    }  # fmt: skip
    assert network_from({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, tmp_path).proxies == {}
    assert network_from({"no_proxy": "lan"}, tmp_path).proxies == {}


@pytest.mark.parametrize(("text", "rate"), [("5M", 5_000_000), ("500k", 500_000), ("1.5 MiB/s", 1_500_000), ("42", 42)])
def test_rates(tmp_path: Path, text: str, rate: int) -> None:
    assert network_from({}, tmp_path, {"limit_rate": text}).max_bytes_per_s == rate
