"""`publican fit` as people and programs use it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from publican.cli.fit import command
from publican.cli.fit_show import bar, parts_of
from publican.core.errors import InvalidParameter, ModelNotFound, PublicanError, SettingsError
from publican.hardware.plan import Device, Share
from publican.hardware.sizes import GIB
from tests.cli.pulling import run
from tests.store.fake_hub import running_hub
from tests.store.pull.models import QUANTS, quant


@pytest.fixture(autouse=True)
def _no_settings_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUBLICAN_MODELS_DIR", str(tmp_path / "models"))


def fit(*words: str) -> Result:
    return CliRunner().invoke(command, [*words])


def body(*words: str) -> dict:
    done = fit(*words, "--json")
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_a_model_by_its_shape_on_a_machine_in_words():
    done = fit("llama-2-13b", "--bits", "4", "--gpu", "14GB", "--ctx", "8192", "--users", "1")
    assert done.exit_code == 0, done.output
    out = done.output
    for said in (
        "llama-2-13b",
        "8,192 tokens for 1 user",
        "fits",
        "GPU 0 (14.0 GiB)",
        "40 of 40 layers",
        "NTK with alpha 2.63",
    ):
        assert said in out
    assert "WWWWWW" in out
    assert "KKKKKK" in out
    assert "to download" in out


def test_what_does_not_fit_says_by_how_much_and_what_would_help():
    done = fit("llama-2-7b", "--gpu", "8GB", "--ctx", "8192", "--users", "2", "--bits", "4", "--cache-type", "bf16")
    assert done.exit_code == 1
    assert "does not fit by 4." in done.output
    assert "too much" in done.output
    assert "--ctx 7424" in done.output


def test_what_the_server_would_do_instead():
    words = ("llama-2-70b", "--gpu", "24GB", "--users", "1", "--ctx", "4096")
    assert "take llama with 4,096 tokens, " in fit(*words, "--ram", "64GB").output  # only named: it may be a GGUF
    assert "layers on GPUs" in body(*words, "--ram", "64GB")["instead"]
    assert "native (cpu)" in fit(*words, "--ram", "64GB", "--bits", "4").output
    assert body(*words, "--ram", "8GB")["instead"] is None
    assert body(*words, "--ram", "64GB", "--backend", "cuda")["instead"] is None


def test_fewer_people_than_wished_for_is_said_too():
    """It would be loaded, but not for as many: that is no error when serving, and no `fits` here."""
    done = fit("llama-2-7b", "--gpu", "12GB", "--users", "8", "--bits", "4")
    assert done.exit_code == 1
    assert "would fit with" in done.output
    assert "--users 3" in done.output


def test_two_cards_and_a_split():
    found = body("llama-2-70b", "--bits", "4", "--gpu", "24GB,24GB", "--users", "1", "--gpu-split", "20,24")
    first, second, memory = found["wanted"]["devices"]
    assert found["fits"]
    assert first["layers"] + second["layers"] == 80
    assert first["weight_bytes"] + first["kv_bytes"] <= 20 * GIB
    assert not memory["is_gpu"]


def test_json_says_what_the_table_says():
    found = body("mistral-7b", "--bits", "8", "--gpu", "16GB", "--users", "2", "--ctx", "16384")
    assert found["model"]["native_context"] == 32_768
    assert found["engine"] == "cuda"
    assert found["loaded"]["context"] == 16_384
    assert {each["name"] for each in found["decisions"]} == {
        "loader",
        "context",
        "room",
        "slots",
        "cache",
        "layers",
        "positions",
    }
    assert found["limits"][0]["longest_context_for_one"] > found["limits"][0]["longest_context_for_all"] > 16_384
    assert found["disk"]["needed_bytes"] > found["model"]["file_bytes"]
    for device in found["wanted"]["devices"]:
        parts = sum(device[name] for name in ("weight_bytes", "kv_bytes", "scratch_bytes", "overhead_bytes", "passing_bytes"))
        assert parts + device["room_bytes"] + device["reserve_bytes"] == device["free_bytes"]


def test_a_model_that_is_here(default_model: Path):
    done = fit(str(default_model))
    assert done.exit_code == 0, done.output
    assert "native (cpu)" in done.output or "native (plain)" in done.output
    assert "to download" not in done.output
    found = body(str(default_model), "--loader", "llama", "--gpu", "3GB", "--ram", "8GB")
    assert found["engine"] == "llama"
    assert found["wanted"]["devices"][0]["layers"] == 30


def test_eight_bit_keys_and_values(default_model: Path):
    half = body(str(default_model), "--ram", "16GB")
    eighth = body(str(default_model), "--ram", "16GB", "--cache-type", "q8")
    assert [each["kv_type"] for each in half["limits"]] == ["bf16", "q8", "q4"]
    assert [each["kv_type"] for each in eighth["limits"]] == ["q8"]
    assert 1.8 < half["wanted"]["devices"][0]["kv_bytes"] / eighth["wanted"]["devices"][0]["kv_bytes"] < 2.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_check_loads_and_compares_and_remembers(default_model: Path, tmp_path: Path):
    (tmp_path / "models").mkdir()
    assert "No model has been loaded" in fit("--check").output
    (memory,) = json.loads(fit(str(default_model), "--check", "--ctx", "512", "--json").stdout)
    assert (memory["where"], memory["loader"]) == ("memory", "native")
    assert abs(memory["error"]) < 0.10
    said = fit("--check").output
    assert "SmolLM2-135M-Instruct.Q4_1" in said
    assert "right to within" in said
    assert json.loads(fit("--check", "--json").stdout) == [memory]


def test_a_model_at_the_hub_is_judged_by_its_headers(tmp_path: Path):
    with running_hub() as hub:
        hub.add("org/repo", {f"m.{name}.gguf": quant(name) for name in QUANTS})
        status, out, err = run(hub, tmp_path, "fit", "org/repo:Q4_K_M", "--ram", "8GB", "--json")
        assert status == 0, err
        assert json.loads(out)["model"]["architecture"] == "llama"
        assert "org/repo:Q4_K_M, the only one" in err
        assert not (tmp_path / "models").exists()
        status, _, err = run(hub, tmp_path, "fit", "org/none", "--ram", "8GB")
        assert status == 1
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["llama-2-7b", "--gpu", "much"], SettingsError),
        (["llama-2-7b", "--gpu", "24GB", "--gpu-split", "a,b"], SettingsError),
        (["llama-2-7b", "--gpu", "24GB", "--rope-scaling", "ntk", "--rope-factor", "2"], SettingsError),
        (["llama-2-7b", "--gpu", "24GB", "--check"], SettingsError),
        (["gpt-9"], ModelNotFound),
        (["a/b/c/d"], InvalidParameter),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words, error):
    done = fit(*words)
    assert isinstance(done.exception, PublicanError)
    assert isinstance(done.exception, error), done.exception
    assert str(done.exception).endswith(".")


@given(
    st.integers(1, 1 << 40),
    st.floats(0, 1),
    st.tuples(*[st.integers(0, 1 << 41)] * 4),
    st.booleans(),
)
def test_a_bar_is_as_long_as_its_device_and_longer_only_for_what_does_not_fit(total, free, parts, is_gpu):
    share = Share(Device("d", total, int(total * free), is_gpu), 1, *parts)
    text = bar(share).plain
    inside, _, beyond = text.removeprefix("[").partition("]")
    assert len(inside) == 56
    assert len(beyond) <= 56
    assert sum(parts_of(share)) >= total or share.room_bytes >= 0
    if share.room_bytes >= 0:
        assert beyond == ""
