"""Presets: the well-known ones with their numbers, a host's own, and broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from publican.core.errors import InvalidParameter, SettingsError
from publican.core.presets import Presets
from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import KOBOLD_IDS
from publican.core.sampling.wire import sampling_params


def test_every_preset_is_one():
    presets = Presets()
    assert len(presets.names()) == 54
    for name in presets.names():
        assert SamplingParams(**presets.get(name)) != SamplingParams() or name == "Null"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "Divine Intellect",
            {"temperature": 1.31, "top_p": 0.14, "top_k": 49, "epsilon_cutoff": 1.49e-4, "eta_cutoff": 10.42e-4},
        ),
        ("LLaMA-Precise", {"temperature": 0.7, "top_p": 0.1, "top_k": 40, "repetition_penalty": 1.18}),
        ("Universal-Light", {"temperature": 1.25, "min_p": 0.1, "temperature_last": True}),
        (
            "Ace of Spades",
            {"repetition_penalty_slope": 7.0, "repetition_slope_rule": "koboldai", "repetition_penalty_range": 2048},
        ),
        ("Mirostat", {"mirostat_mode": 2, "mirostat_tau": 8, "mirostat_eta": 0.1}),
        ("Contrastive Search", {"do_sample": False, "top_k": 4, "penalty_alpha": 0.3}),
    ],
)
def test_numbers(name, values):
    preset = Presets().get(name)
    assert {key: preset[key] for key in values} == pytest.approx(values)


def test_kobold_orders_came_through():
    order = Presets().get("Godlike")["order"]
    wanted = [step for number in (6, 5, 4, 3, 2, 1, 0) for step in KOBOLD_IDS[number]]
    assert [step for step in order if step in wanted] == wanted


def test_names_are_forgiving():
    presets = Presets()
    assert presets.get("divine_intellect") == presets.get("Divine Intellect") == presets.get(" DIVINE-INTELLECT ")
    with pytest.raises(InvalidParameter, match=r"preset: 'nope' is not here; there are Ace of Spades, "):
        presets.get("nope")
    with pytest.raises(InvalidParameter):
        presets.get("../../etc/passwd")


def test_a_request_names_one():
    presets = Presets()
    assert presets.of_request({}) is None
    assert presets.of_request({"preset": None}) is None
    assert presets.of_request({"preset": "None"}) is None
    assert presets.of_request({"preset": ""}) is None
    with pytest.raises(InvalidParameter):
        presets.of_request({"preset": 5})
    body = {"preset": "simple-1", "top_k": 7}
    assert sampling_params("openai", body, presets.of_request(body)).top_k == 7
    assert sampling_params("ooba", body, presets.of_request(body)).top_k == 20


def test_a_hosts_own_folder(tmp_path: Path):
    (tmp_path / "Mine.toml").write_text('temperature = 0.4\nsampler_priority = "llamacpp"\n')
    (tmp_path / "simple-1.toml").write_text("top_k = 3\n")
    (tmp_path / "Oobas.yaml").write_text("# a comment\ntemperature: 1.31\neta_cutoff: 10.42  # small\ndo_sample: true\n")
    (tmp_path / "notes.txt").write_text("not a preset")
    presets = Presets(tmp_path)
    assert presets.get("mine")["temperature"] == 0.4
    assert presets.get("mine")["order"][0] == "no_repeat_ngram"
    assert presets.get("simple-1") == {"top_k": 3}
    assert presets.get("Oobas")["eta_cutoff"] == pytest.approx(0.001042)
    assert len(presets.names()) == 56
    assert Presets(tmp_path / "nowhere").names() == Presets().names()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("temperature = ", "cannot be read"),
        ("temperature = -1", "temperature: must be"),
        ('dialect = "klingon"', "klingon"),
        ("frobnication = 3", "frobnication"),
        ("top_k = 2.5", "top_k"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, says: str):
    (tmp_path / "Broken.toml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        Presets(tmp_path).get("broken")
    (tmp_path / "Bad.yaml").write_text("temperature 3")
    with pytest.raises(SettingsError, match="no colon"):
        Presets(tmp_path).get("bad")


def test_a_models_defaults_travel_with_the_presets(tmp_path: Path):
    (tmp_path / "Mine.toml").write_text("top_k = 3\n")
    presets = Presets(tmp_path).over({"temperature": 0.6})
    assert presets.defaults == {"temperature": 0.6}
    assert presets.get("mine") == {"top_k": 3}
    assert Presets().defaults == {}
