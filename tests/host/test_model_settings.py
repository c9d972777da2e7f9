"""What a model's makers recommend, and what its owner wants."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from publican.core.errors import SettingsError
from publican.core.model import Checkpoint
from publican.core.presets import Presets
from publican.core.request import ChatPrompt, Message
from publican.core.sampling.wire import sampling_params
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.model_settings import ModelSettings, model_settings, settings_path, ways_of
from publican.host.options import LoadOptions


def gguf(path: Path, **metadata: Any) -> Checkpoint:
    return Checkpoint("m", path, "gguf", None, {}, metadata)


def settings(tmp_path: Path, text: str, **metadata: Any) -> ModelSettings:
    (tmp_path / "m.toml").write_text(text)
    return model_settings(gguf(tmp_path / "m.gguf", **metadata), Presets())


def test_without_a_word_nothing_is_set(tmp_path: Path) -> None:
    assert model_settings(gguf(tmp_path / "m.gguf"), Presets()) == ModelSettings()
    assert settings(tmp_path, "") == ModelSettings()


def test_what_the_makers_recommend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_gguf = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20, "general.sampling.penalty_repeat": -3}
    with caplog.at_level(logging.WARNING):
        assert model_settings(gguf(tmp_path / "m.gguf", **in_gguf), Presets()).sampling == {"temperature": 0.6, "top_k": 20}
    assert "repetition_penalty" in caplog.text
    config = {"temperature": 0.6, "top_p": 0.95, "top_k": "many", "eos_token_id": 3, "do_sample": False}
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    folder = Checkpoint("m", tmp_path, "safetensors", None, {}, {})
    assert model_settings(folder, Presets()).sampling == {"temperature": 0.6, "top_p": 0.95}
    (tmp_path / "generation_config.json").write_text("[")
    assert model_settings(folder, Presets()).sampling == {}


def test_what_the_owner_wants_wins(tmp_path: Path) -> None:
    text = (
        'chat_template = "chatml"\ntool_calls = "mistral"\nthoughts = "none"\npreset = "min_p"\n[sampling]\ntemperature = 0.9\n'
    )
    own = settings(tmp_path, text, **{"general.sampling.temp": 0.6, "general.sampling.top_k": 20})
    assert (own.chat_template, own.tool_calls, own.thoughts) == ("chatml", "mistral", "none")
    assert own.sampling == {"temperature": 0.9, "top_k": 20, "min_p": 0.05, **Presets().get("min_p")} | {"temperature": 0.9}
    ways = ways_of(own, LoadOptions(tool_calls="llama3"))
    assert (ways.template, ways.calls, ways.thoughts) == ("chatml", "llama3", "none")


def test_a_request_wins_over_a_preset_over_the_model_over_the_dialect(tmp_path: Path) -> None:
    own = settings(tmp_path, "[sampling]\ntemperature = 0.5\ntop_k = 7\nmin_p = 0.2\n").sampling
    preset = {"top_k": 30, "min_p": 0.1}
    params = sampling_params("openai", {"min_p": 0.3}, preset, own)
    assert (params.temperature, params.top_k, params.min_p) == (0.5, 30, 0.3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = ", "cannot be read"),
        ("colour = 1", "sets 'colour', which is not known"),
        ("chat_template = 3", "chat_template must be a text"),
        ("sampling = 3", "must be a table"),
        ("[sampling]\ncolour = 1", "no sampling parameter"),
        ("[sampling]\npreset = 'min_p'", "no sampling parameter"),
        ("[sampling]\ntemperature = -1", "temperature: must be"),
        ("preset = 'nonsense'", "'nonsense' is not here"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        settings(tmp_path, text)


def test_where_the_file_lies(tmp_path: Path) -> None:
    assert settings_path(tmp_path) == tmp_path / "model.toml"
    assert settings_path(tmp_path / "a.b.gguf") == tmp_path / "a.b.toml"
    assert settings_path(tmp_path / "m-00001-of-00003.gguf") == tmp_path / "m.toml"


def test_a_model_with_its_owners_wishes(default_model: Path, tmp_path: Path) -> None:
    """From the files to what a client is told and a chat becomes; a preset of the host's own among them."""
    models, presets, templates = tmp_path / "models", tmp_path / "presets", tmp_path / "templates"
    for folder in (models, presets, templates):
        folder.mkdir()
    (models / "m.gguf").symlink_to(default_model)
    (presets / "mine.toml").write_text("top_k = 11\n")
    (templates / "pirate.jinja").write_text("Arr {{ messages[0].content }}")
    (models / "m.toml").write_text('chat_template = "pirate"\npreset = "mine"\n[sampling]\ntemperature = 0.3\n')
    options = LoadOptions(context_len=128, templates_dir=templates, presets_dir=presets)
    library = ModelLibrary(models, options, ThreadPort, 4)

    async def main() -> None:
        info = await library.describe("m")
        assert dict(info.sampling) == {"top_k": 11, "temperature": 0.3}
        assert info.chat_template == "Arr {{ messages[0].content }}"
        model = await library.open("m", {})
        assert model.description.info == info
        assert model.card.sampling == info.sampling
        assert await model.prompter.render(ChatPrompt((Message("user", "matey"),))) == "Arr matey"

    asyncio.run(main())
    shutil.rmtree(models)
