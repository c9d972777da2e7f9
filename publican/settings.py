"""Settings: one schema, four sources. Default < file < environment < flag.

The flags, the keys of `publican.toml` and the variables `PUBLICAN_…` all come from `Settings`; so does
`docs/settings.md`. Nothing else in the program reads files, variables or arguments for its configuration.
"""

from __future__ import annotations

import difflib
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from publican.core.errors import SettingsError

FILE_NAME = "publican.toml"
PREFIX = "PUBLICAN_"
_OF_THE_TESTS = "PUBLICAN_TEST_"


class Settings(BaseModel):
    """Everything a host can decide, and what publican decides without them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(None, description="The model to serve: a name in the models folder, or a path.")
    models_dir: Path | None = Field(None, description="Where models are kept; by default a folder of the user's own.")

    presets_dir: Path | None = Field(None, description="Your own sampler presets; by default presets beside the models.")
    templates_dir: Path | None = Field(None, description="Your own chat templates; by default templates beside the models.")

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(5000, ge=1, le=65535, description="The port of the API.")
    stream_port: int = Field(5005, ge=0, le=65535, description="The port of the 2023 websocket stream; 0 leaves it out.")
    listen: bool = Field(False, description="Listen on all addresses, for friends; a key is then required.")
    api_key: SecretStr | None = Field(
        None, description="The key that callers must send. Made and printed if one is needed and none is set."
    )
    cors_origins: tuple[str, ...] = Field((), description="Web pages of these origins may call the API from a browser.")

    loader: Literal["auto", "native", "llama", "fake"] = Field("auto", description="Which engine runs the model.")
    backend: Literal["auto", "plain", "cpu", "cuda"] = Field("auto", description="Which of native's backends computes.")
    lora: tuple[str, ...] = Field(
        (), description="LoRA adapters for the model, each NAME=FOLDER or FOLDER as PEFT saves them; requests choose by name."
    )
    ctx: int | None = Field(
        None, ge=64, le=16_777_216, description="Tokens of context per conversation; by default the model's."
    )
    users: int = Field(4, ge=1, le=1_000, description="Conversations that have room at full length side by side.")
    max_running: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Answers computed together at most; the others wait. By default what the machine carries.",
    )
    max_queue: int = Field(256, ge=0, le=100_000, description="Requests that may wait; one more is told to come back later.")
    threads: int | None = Field(None, ge=1, le=1_024, description="Compute threads; by default one per physical core.")
    gpu_layers: int | None = Field(
        None, ge=-1, le=10_000, description="Layers that libllama puts on GPUs; by default as many as fit, -1 is all."
    )
    gpu_split: str | None = Field(
        None,
        pattern=r"^\d{1,4}(\.\d{1,3})?(,\d{1,4}(\.\d{1,3})?){0,15}$",
        description="GB of each GPU that layers and their cache may take, such as 14,20; by default what is free.",
    )
    kv_type: Literal["auto", "f32", "f16", "bf16", "q8", "q4"] = Field(
        "auto",
        description="How keys and values are stored; q8 takes half of what 16 bits do, q4 a little over a quarter, and errs.",
    )
    alpha: float | None = Field(None, ge=1, le=1_000, description="NTK alpha for more context than the model was made for.")
    rope_factor: float | None = Field(
        None, ge=1, le=1_000, description="By how much positions are stretched (compress_pos_emb)."
    )
    rope_scaling: Literal["linear", "dynamic", "ntk", "yarn"] | None = Field(
        None, description="How positions are stretched; by default as the model does, else NTK from the length."
    )
    speculate: Literal["auto", "ngram", "off"] = Field(
        "auto", description="Guess what a text repeats, so that a step may give several tokens; changes no answer."
    )
    draft_model: str = Field(
        "", description="A smaller model with the same tokens (a name or a path) that guesses for the model, where that pays."
    )
    quality: bool = Field(False, description="Slower, more exact arithmetic where the engine has the choice.")
    target_ms: float = Field(
        60.0, ge=1, le=10_000, description="How much longer a step may take for new prompts while others are being answered."
    )
    chat_template: str = Field("", description="The chat template to use, by name, in place of the model's own.")
    tool_calls: str = Field(
        "", description="How the model writes tool calls, such as hermes; by default told from its template."
    )
    thoughts: str = Field("", description="The tag that its thoughts begin with, or none; by default told from its template.")
    in_process: bool = Field(False, description="Run the engine inside the server's process, for debugging.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or for programs.")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The effective values, and where each came from: ``default``, ``publican.toml``, ``PUBLICAN_PORT``, ``--port``.

    `warnings` are sentences about variables that look like settings and are none. They are not refused, as unknown keys of the
    file are: a variable may be somebody else's (Kubernetes makes PUBLICAN_SERVICE_HOST for a service of that name).
    """

    values: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    return PREFIX + name.upper()


def load(flags: Mapping[str, Any], environ: Mapping[str, str], folder: Path, config: Path | None = None) -> LoadedSettings:
    """Merge all sources.

    Args:
        flags: values given on the command line, by field name; None means not given.
        environ: the environment.
        folder: where `publican.toml` is looked for.
        config: a settings file named on the command line; it must exist.

    Raises:
        SettingsError: names the source and the setting.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    path = config or folder / FILE_NAME
    if config is not None or path.exists():
        for name, value in _read_file(path).items():
            values[name], sources[name] = value, str(path)
    for name in Settings.model_fields:
        if _is_given(text := environ.get(variable_of(name), "")):
            values[name], sources[name] = _from_text(name, text), variable_of(name)
    for name, value in flags.items():
        if _is_given(value):
            values[name], sources[name] = value, flag_of(name)
    try:
        return LoadedSettings(Settings.model_validate(values), sources, _strangers(environ))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        source = sources[name]
        where = source if source in (flag_of(name), variable_of(name)) else f"{source}: {name}"
        raise SettingsError(f"{where} is wrong: {_objection(first)}, got {first['input']!r:.60}.") from None


_OBJECTIONS = {
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "int_type": "it must be a whole number",
    "float_parsing": "it must be a number",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "string_type": "it must be a text",
    "tuple_type": "it must be a list",
    "path_type": "it must be a path",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "string_pattern_mismatch": "it must be numbers of GB with commas between them, such as 14,20",
    "literal_error": "it must be one of {expected}",
}
"""What pydantic objects to, by its type, in words for whoever wrote the setting."""


def _objection(error: Mapping[str, Any]) -> str:
    text = _OBJECTIONS.get(error["type"])
    return text.format(**error.get("ctx", {})) if text else str(error["msg"])


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))  # Windows' Notepad may have put a mark first
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    for name in values:
        if name not in Settings.model_fields:
            near = _nearest(name)
            hint = f"; did you mean {near!r}?" if near else "."
            raise SettingsError(f"{path}: there is no setting {name!r}{hint}")
    return {name: value for name, value in values.items() if _is_given(value)}


def _strangers(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each variable with our prefix that is no setting."""
    known = {variable_of(name) for name in Settings.model_fields}
    sentences = []
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(_OF_THE_TESTS):
            near = _nearest(variable.removeprefix(PREFIX).lower())
            hint = f"; did you mean {variable_of(near)}?" if near else "; 'publican config' names them all."
            sentences.append(f"The variable {variable:.80} is no setting{hint}")
    return tuple(sentences)


def _nearest(name: str) -> str | None:
    """The setting that was meant by a misspelt name, as far as that can be guessed."""
    return next(iter(difflib.get_close_matches(name, Settings.model_fields, 1)), None)


def _is_given(value: Any) -> bool:
    """Blank text is nothing wherever it stands: a key that is blank must never be a key that everybody has."""
    return value is not None and value != () and not (isinstance(value, str) and not value.strip())


def _from_text(name: str, text: str) -> Any:
    """An environment variable's text; lists are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if is_list(name) else text


def is_list(name: str) -> bool:
    """Whether a setting is several texts."""
    return Settings.model_fields[name].annotation == tuple[str, ...]


def data_dir(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of the user's own where models live, by the platform's custom."""
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "publican"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "publican"
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "publican"
