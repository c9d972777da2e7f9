"""What a model's own files, and its owner's file beside them, say of how it likes to be asked.

`<name>.toml` beside a GGUF file, or `model.toml` in a model's folder, all of it optional:

    chat_template = "chatml"      # a name
    tool_calls = "hermes"         # how it writes calls
    thoughts = "<think>"          # what its thoughts begin with, or "none"
    preset = "min_p"
    [sampling]                    # over the preset
    temperature = 0.7

Blocks on the disk; called on threads, when a model is opened or described.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from publican.core.errors import InvalidParameter, ModelFileError, SettingsError
from publican.core.model import Checkpoint
from publican.core.presets import Presets
from publican.core.sampling import DECLARED, SamplingParams
from publican.core.sampling.wire import said, sampling_names
from publican.host.options import LoadOptions
from publican.host.template_files import own_templates
from publican.host.templates import Ways
from publican.store.bounded_json import read_object
from publican.store.checkpoint import model_name

log = logging.getLogger(__name__)

FILE_NAME = "model.toml"
_TEXTS = ("chat_template", "tool_calls", "thoughts", "preset")
_GENERATION = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
"""Of generation_config.json. Whether it samples at all is left to the request: many files forget to say so."""
_GGUF_PREFIX = "general.sampling."
_GGUF_NAMES = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repetition_penalty_range",
    "penalty_repeat": "repetition_penalty",
    "mirostat": "mirostat_mode",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model's. `sampling` holds canonical names and values: what its makers recommend, under what its owner wants."""

    chat_template: str = ""
    tool_calls: str = ""
    thoughts: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)


def model_settings(checkpoint: Checkpoint, presets: Presets) -> ModelSettings:
    """Raises SettingsError if the owner's file is wrong; says how. What came with a model counts as far as it is right."""
    recommended = _recommended(checkpoint)
    path = settings_path(checkpoint.path)
    if not path.is_file():
        return ModelSettings(sampling=recommended)
    given = _read(path)
    own = _own_sampling(path, given, presets)
    return ModelSettings(
        given.get("chat_template", ""), given.get("tool_calls", ""), given.get("thoughts", ""), {**recommended, **own}
    )


def settings_path(model: Path) -> Path:
    """Where the owner's file for the model at `model` lies, if there is one."""
    return model / FILE_NAME if model.is_dir() else model.with_name(f"{model_name(model)}.toml")


def ways_of(own: ModelSettings, options: LoadOptions) -> Ways:
    """How the model is asked and answers: what was set for this run wins over the model's own file."""
    return Ways(
        more=own_templates(options.templates_dir) if options.templates_dir else {},
        template=options.chat_template or own.chat_template,
        calls=options.tool_calls or own.tool_calls,
        thoughts=options.thoughts or own.thoughts,
    )


def _recommended(checkpoint: Checkpoint) -> dict[str, Any]:
    if checkpoint.format == "gguf":
        values = {name: checkpoint.metadata.get(_GGUF_PREFIX + key) for key, name in _GGUF_NAMES.items()}
    else:
        path = checkpoint.path / "generation_config.json"
        try:
            config = read_object(path) if path.is_file() else {}
        except ModelFileError as error:
            log.warning("%s", error)
            return {}
        values = {name: config.get(name) for name in _GENERATION}
    return {name: value for name, value in values.items() if value is not None and _is_right(checkpoint, name, value)}


def _is_right(checkpoint: Checkpoint, name: str, value: Any) -> bool:
    try:
        DECLARED[name].check(value)
    except InvalidParameter as error:
        log.warning("what %s recommends is left out: %s", checkpoint.name, error)
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from None
    unknown = sorted(given.keys() - {*_TEXTS, "sampling"})
    if unknown:
        raise SettingsError(f"{path} sets {unknown[0]!r:.60}, which is not known; known are {', '.join(_TEXTS)}, sampling.")
    wrong = next((name for name in _TEXTS if not isinstance(given.get(name, ""), str)), None)
    if wrong is not None:
        raise SettingsError(f"{path}: {wrong} must be a text.")
    return given


def _own_sampling(path: Path, given: Mapping[str, Any], presets: Presets) -> dict[str, Any]:
    sampling = given.get("sampling", {})
    if not isinstance(sampling, Mapping):
        raise SettingsError(f"{path}: sampling must be a table of parameters.")
    unknown = sorted(sampling.keys() - (sampling_names("openai") - {"preset"}))
    if unknown:
        raise SettingsError(f"{path} sets {unknown[0]!r:.60}, which is no sampling parameter.")
    try:
        preset = presets.get(given["preset"]) if given.get("preset") else {}
        values = said("openai", sampling)
        SamplingParams(**{**preset, **values})
    except InvalidParameter as error:
        raise SettingsError(f"{path} is wrong: {error}") from None
    return {**preset, **{name: value for name, value in values.items() if name in DECLARED}}
