from pathlib import Path

import pytest

from publican import settings
from publican.core.errors import SettingsError


def load(tmp_path: Path, toml: str = "", env: dict | None = None, **flags):
    if toml:
        (tmp_path / "publican.toml").write_text(toml)
    return settings.load(flags, env or {}, tmp_path)


def test_default_file_environment_flag(tmp_path):
    loaded = load(tmp_path)
    assert (loaded.values.port, loaded.sources["port"]) == (5000, "default")
    loaded = load(tmp_path, "port = 1")
    assert (loaded.values.port, loaded.sources["port"]) == (1, str(tmp_path / "publican.toml"))
    loaded = load(tmp_path, env={"PUBLICAN_PORT": "2"})
    assert (loaded.values.port, loaded.sources["port"]) == (2, "PUBLICAN_PORT")
    loaded = load(tmp_path, env={"PUBLICAN_PORT": "2"}, port=3, users=None)
    assert (loaded.values.port, loaded.sources["port"]) == (3, "--port")
    assert loaded.sources["users"] == "default"


def test_lists_and_booleans_from_the_environment(tmp_path):
    env = {"PUBLICAN_CORS_ORIGINS": "http://a, http://b", "PUBLICAN_LISTEN": "true", "PUBLICAN_MODEL": ""}
    values = load(tmp_path, env=env).values
    assert values.cors_origins == ("http://a", "http://b")
    assert values.listen
    assert values.model is None


@pytest.mark.parametrize(
    ("toml", "env", "flags", "says"),
    [
        ("prot = 1", {}, {}, "did you mean 'port'"),
        ("port = 'x'", {}, {}, "publican.toml: port is wrong"),
        ("port = ", {}, {}, "not valid TOML"),
        ("", {"PUBLICAN_PORT": "99999"}, {}, "PUBLICAN_PORT: port is wrong"),
        ("", {}, {"users": 0}, "--users: users is wrong"),
        ("", {"PUBLICAN_LOADER": "exllama"}, {}, "PUBLICAN_LOADER"),
    ],
)
def test_a_wrong_value_names_its_source(tmp_path, toml, env, flags, says):
    with pytest.raises(SettingsError, match=says):
        load(tmp_path, toml, env, **flags)


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load({}, {}, tmp_path, tmp_path / "none.toml")


def test_a_key_is_not_shown():
    assert "hunter2" not in repr(settings.Settings(api_key="hunter2"))
