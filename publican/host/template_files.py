"""Finds chat templates: those in a model's files and beside them, and the host's own folder of them.

Blocks on the disk; called on threads, when a model is opened.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from publican.core.model import Checkpoint
from publican.core.tokenizer import Vocabulary
from publican.host.answers.style import special_texts
from publican.host.templates import DEFAULT, ChatTemplates, Ways
from publican.host.templating.chat_template import MAX_SOURCE_LEN
from publican.store.bounded_json import read_object
from publican.store.checkpoint import model_name

log = logging.getLogger(__name__)

_MARKS = (("<|im_start|>", "chatml"), ("<|start_header_id|>", "llama3"), ("<start_of_turn>", "gemma"))
_NAMES = ("alpaca", "vicuna", "chatml", "mixtral", "mistral", "gemma", "llama3", "llama2")
_IN_YAML = re.compile(r"^instruction_template:[ \t]*[|>][+-]?[ \t]*\n((?:[ \t]+.*\n?|[ \t]*\n)*)", re.MULTILINE)
_MAX_TEMPLATES = 1_000


def template_for(checkpoint: Checkpoint, vocabulary: Vocabulary, ways: Ways = Ways()) -> ChatTemplates:  # noqa: B008
    """The templates of the model on disk. `ways` holds what its owner has chosen; what can be read is added.

    Raises:
        ModelFileError: a file that should hold one is damaged.
        SettingsError: what `ways` chooses is not to be had.
    """
    bos = _text_of(vocabulary, vocabulary.bos)
    if checkpoint.format == "gguf":
        named = _gguf_templates(checkpoint.metadata) | _beside(checkpoint.path)
        eos = _text_of(vocabulary, checkpoint.metadata.get("tokenizer.ggml.eos_token_id"))
        architecture = str(checkpoint.metadata.get("general.architecture", ""))
        names = [checkpoint.name, str(checkpoint.metadata.get("general.name", ""))]
    else:
        config = _read(checkpoint.path / "tokenizer_config.json")
        named = _folder_templates(checkpoint.path, config)
        eos = _token_text(config.get("eos_token")) or _text_of(vocabulary, min(vocabulary.end, default=None))
        architecture, names = str(checkpoint.metadata.get("model_type", "")), [checkpoint.name]
    pieces = {vocabulary.pieces[token] for token in vocabulary.special}
    ways = replace(ways, name=" ".join(filter(None, names)), special=special_texts(vocabulary))
    return ChatTemplates(named, bos, eos, guess_built_in(names, architecture, pieces), ways)


def guess_built_in(names: Collection[str], architecture: str, special: Collection[bytes]) -> str:
    """The built-in template that suits a model without one: by the marks that it knows, then by its name.

    Alpaca, which is plain text, for a model of which nothing is known.
    """
    for mark, template in _MARKS:
        if mark.encode() in special:
            return template
    for name in (*names, architecture):
        words = re.sub(r"[^a-z0-9]", "", name.lower())
        for known in _NAMES:
            if known in words:
                return "mistral" if known == "mixtral" else known
    return "alpaca"


def own_templates(folder: Path) -> dict[str, str]:
    """The host's templates in `folder`, Jinja text by name in small letters: ``.jinja`` files, and text-generation-webui's
    ``.yaml`` files with an `instruction_template`. None, if there is no such folder."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir())[:_MAX_TEMPLATES] if folder.is_dir() else []:
        if path.suffix not in (".jinja", ".jinja2", ".yaml", ".yml") or not path.is_file():
            continue
        source = _read_source(path)
        if path.suffix in (".yaml", ".yml"):
            source = _from_yaml(source)
        if source:
            found[path.stem.casefold()] = source
        else:
            log.warning("%s holds no instruction_template, and is left out.", path)
    return found


def _from_yaml(text: str) -> str:
    """The block of lines under `instruction_template`, without its indentation; empty if there is none."""
    met = _IN_YAML.search(text if text.endswith("\n") else text + "\n")
    lines = met.group(1).rstrip().split("\n") if met else []
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)


def _beside(path: Path) -> dict[str, str]:
    """The template beside a GGUF file, of the same name, which wins over the one inside."""
    file = path.with_name(f"{model_name(path)}.jinja")
    return {DEFAULT: _read_source(file)} if file.is_file() else {}


def _gguf_templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    key = "tokenizer.chat_template"
    named = {
        name[len(key) + 1 :]: text for name, text in metadata.items() if name.startswith(f"{key}.") and isinstance(text, str)
    }
    default = metadata.get(key)
    return named | ({DEFAULT: default} if isinstance(default, str) and default else {})


def _folder_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Files win over configs; they are the newer way."""
    named: dict[str, str] = {}
    for value in (_read(folder / "chat_template.json").get("chat_template"), config.get("chat_template")):
        if isinstance(value, str):
            named[DEFAULT] = value
        elif isinstance(value, list):
            named |= {
                entry["name"]: entry["template"]
                for entry in value
                if isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("template"), str)
            }
    more = folder / "additional_chat_templates"
    for path in sorted(more.glob("*.jinja")) if more.is_dir() else []:
        named[path.stem] = _read_source(path)
    if (folder / "chat_template.jinja").is_file():
        named[DEFAULT] = _read_source(folder / "chat_template.jinja")
    return named


def _read(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _read_source(path: Path) -> str:
    with path.open("rb") as file:  # one more than may be, so that the template itself is what is refused
        return file.read(4 * MAX_SOURCE_LEN + 1).decode("utf-8", "replace")


def _token_text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _text_of(vocabulary: Vocabulary, token: Any) -> str:
    if type(token) is not int or not 0 <= token < vocabulary.size:
        return ""
    return vocabulary.pieces[token].decode("utf-8", "replace")
