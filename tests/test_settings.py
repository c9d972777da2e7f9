import runpy
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
        ("prot = 1", {}, {}, r"did you mean 'port'\?$"),
        ("wxyz = 1", {}, {}, r"no setting 'wxyz'\.$"),
        ("port = 'x'", {}, {}, "publican.toml: port is wrong: it must be a whole number, got 'x'"),
        ("port = 5000.5", {}, {}, "it must be a whole number"),
        ("port = 70000", {}, {}, "it must be at most 65535"),
        ("target_ms = 'soon'", {}, {}, "it must be a number"),
        ("listen = 'maybe'", {}, {}, "it must be true or false"),
        ("cors_origins = 'x'", {}, {}, "it must be a list"),
        ("model = 5", {}, {}, "it must be a text"),
        ("loader = 'exllama'", {}, {}, "it must be one of 'auto', 'native'"),
        ("port = ", {}, {}, "not valid TOML"),
        ("", {"PUBLICAN_PORT": "99999"}, {}, "PUBLICAN_PORT is wrong: it must be"),
        ("", {}, {"users": 0}, "--users is wrong: it must be at least 1"),
        ("", {"PUBLICAN_LOADER": "exllama"}, {}, "PUBLICAN_LOADER"),
    ],
)
def test_a_wrong_value_names_its_source(tmp_path, toml, env, flags, says):
    with pytest.raises(SettingsError, match=says):
        load(tmp_path, toml, env, **flags)


def test_the_mark_that_notepad_puts_first_is_no_mistake(tmp_path):
    (tmp_path / "publican.toml").write_text("port = 5001", "utf-8-sig")
    assert load(tmp_path).values.port == 5001


def test_a_folder_in_the_place_of_the_file_is_said(tmp_path):
    (tmp_path / "publican.toml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_key_is_no_key(tmp_path, blank):
    """It would be one that everybody has."""
    assert load(tmp_path, f"api_key = '{blank}'").values.api_key is None
    (tmp_path / "publican.toml").unlink()
    assert load(tmp_path, env={"PUBLICAN_API_KEY": blank}).values.api_key is None
    assert load(tmp_path, api_key=blank).values.api_key is None


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_leaves_the_file_in_force(tmp_path, blank):
    """Compose files hand on variables that nobody has set: a key in the file must not go away by that."""
    toml = "api_key = 'hunter2'\nport = 5001\ncors_origins = ['http://a']"
    env = dict.fromkeys(("PUBLICAN_API_KEY", "PUBLICAN_PORT", "PUBLICAN_CORS_ORIGINS"), blank)
    loaded = load(tmp_path, toml, env)
    assert loaded.values.api_key is not None
    assert (loaded.values.port, loaded.values.cors_origins) == (5001, ("http://a",))
    assert loaded.sources["api_key"] == str(tmp_path / "publican.toml")


def test_a_variable_that_is_no_setting_is_said(tmp_path):
    env = {"PUBLICAN_PROT": "1", "PUBLICAN_WXYZ": "", "PUBLICAN_PORT": "5001", "PUBLICAN_TEST_MODEL": "x", "PUBLICAN": "y"}
    first, second = load(tmp_path, env=env).warnings
    assert first == "The variable PUBLICAN_PROT is no setting; did you mean PUBLICAN_PORT?"
    assert second == "The variable PUBLICAN_WXYZ is no setting; 'publican config' names them all."
    assert load(tmp_path, env={"PUBLICAN_PORT": "5001", "HOME": "/"}).warnings == ()


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load({}, {}, tmp_path, tmp_path / "none.toml")


def test_a_key_is_not_shown():
    assert "hunter2" not in repr(settings.Settings(api_key="hunter2"))


def test_the_page_of_all_settings_is_up_to_date():
    root = Path(__file__).resolve().parent.parent
    page = runpy.run_path(str(root / "scripts" / "make_settings_docs.py"))["page"]()
    assert (root / "docs" / "settings.md").read_text() == page, "run scripts/make_settings_docs.py"
