"""The chat templates of a model: its own, built-in ones by name, and whatever a request brings along.

`template_for` finds a model's own; `ChatTemplates` chooses and renders, on any thread (rendering takes a millisecond, the
first time with a template up to a tenth of a second, so call it off the event loop). What a template may do and how much of it
is `templating`'s matter.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from publican.core.errors import InvalidRequest
from publican.core.model import Checkpoint
from publican.core.request import ChatPrompt, Message
from publican.core.tokenizer import Vocabulary
from publican.host.templating.chat_template import MAX_SOURCE_LEN, ChatTemplate
from publican.host.templating.meter import Limits
from publican.store.bounded_json import read_object

BUILT_IN = ("alpaca", "chatml", "gemma", "llama2", "llama3", "mistral", "vicuna")
DEFAULT, WITH_TOOLS = "default", "tool_use"
_MAX_COMPILED = 32
_REQUESTED = Limits(cpu_s=1.0)
"""Of a template that came with a request, and not with the model or with us."""
_MARKS = (("<|im_start|>", "chatml"), ("<|start_header_id|>", "llama3"), ("<start_of_turn>", "gemma"))
_NAMES = ("alpaca", "vicuna", "chatml", "mixtral", "mistral", "gemma", "llama3", "llama2")


class ChatTemplates:
    """Follows `prompts.Template`.

    Args:
        named: the model's own templates, Jinja text by name; `default` is used unless another is asked for.
        bos, eos: the texts of the tokens that templates call `bos_token` and `eos_token`.
        fallback: the built-in template to use if the model has none of its own.
    """

    def __init__(self, named: Mapping[str, str], bos: str, eos: str, fallback: str) -> None:
        self._named = dict(named)
        self._tokens = bos, eos
        self._fallback = fallback
        self._compiled: dict[str, ChatTemplate] = {}
        self._lock = threading.Lock()

    @property
    def is_fallback(self) -> bool:
        """Whether the model has no template of its own, so that a built-in one stands in."""
        return DEFAULT not in self._named

    @property
    def bos(self) -> str:
        return self._tokens[0]

    @property
    def eos(self) -> str:
        return self._tokens[1]

    @property
    def source(self) -> str:
        """The template that is used unless another is asked for."""
        return self._named.get(DEFAULT) or built_in_source(self._fallback)

    def render(self, prompt: ChatPrompt) -> str:
        """The text of `prompt`.

        Raises:
            InvalidRequest: there is no such template, it refuses the conversation, or it cannot be used.
        """
        template = self._compile(self._choose(prompt))
        messages = [_as_dict(message) for message in prompt.messages]
        return template.render(messages, continue_last=prompt.continue_last, variables=prompt.variables)

    def _choose(self, prompt: ChatPrompt) -> str:
        """The Jinja text to use."""
        wanted = prompt.template
        if not wanted:
            with_tools = self._named.get(WITH_TOOLS) if prompt.variables.get("tools") else None
            return with_tools or self.source
        if wanted in self._named:
            return self._named[wanted]
        if (name := built_in_name(wanted)) is not None:
            return built_in_source(name)
        if "{{" in wanted or "{%" in wanted:
            return wanted
        known = ", ".join(sorted({*self._named, *BUILT_IN}))
        raise InvalidRequest(f"There is no chat template {wanted!r:.60}; choose one of: {known}; or send Jinja text.")

    def _compile(self, source: str) -> ChatTemplate:
        with self._lock:
            template = self._compiled.get(source)
        if template is None:
            ours = source == self.source or source in self._named.values()
            template = ChatTemplate(source, *self._tokens, limits=Limits() if ours else _REQUESTED)
            with self._lock:
                if len(self._compiled) >= _MAX_COMPILED:
                    self._compiled.clear()
                self._compiled[source] = template
        return template


def template_for(checkpoint: Checkpoint, vocabulary: Vocabulary) -> ChatTemplates:
    """The templates of the model on disk.

    Raises:
        ModelFileError: a file that should hold one is damaged.
    """
    bos = _text_of(vocabulary, vocabulary.bos)
    if checkpoint.format == "gguf":
        named = _gguf_templates(checkpoint.metadata)
        eos = _text_of(vocabulary, checkpoint.metadata.get("tokenizer.ggml.eos_token_id"))
        architecture = str(checkpoint.metadata.get("general.architecture", ""))
        names = [checkpoint.name, str(checkpoint.metadata.get("general.name", ""))]
    else:
        config = _read(checkpoint.path / "tokenizer_config.json")
        named = _folder_templates(checkpoint.path, config)
        eos = _token_text(config.get("eos_token")) or _text_of(vocabulary, min(vocabulary.end, default=None))
        architecture, names = str(checkpoint.metadata.get("model_type", "")), [checkpoint.name]
    pieces = {vocabulary.pieces[token] for token in vocabulary.special}
    return ChatTemplates(named, bos, eos, guess_built_in(names, architecture, pieces))


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


def built_in_name(wanted: str) -> str | None:
    """The built-in template that `wanted` means, however it is written (``Llama-v3``, ``Vicuna-v1.1``); None if it is none."""
    words = re.sub(r"[^a-z0-9]", "", wanted.lower()) if len(wanted) < 40 else ""
    words = re.sub(r"v(\d)", r"\1", words)
    return next((name for name in BUILT_IN if words == name or (words and words.rstrip("0123456789") == name)), None)


def built_in_source(name: str) -> str:
    """The Jinja text of the built-in template `name`."""
    return (files("publican.host") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


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


def _as_dict(message: Message) -> dict[str, Any]:
    """A message as templates expect it: the arguments of tool calls as objects, where the wire has them as JSON text."""
    extra = dict(message.extra)
    calls = extra.get("tool_calls")
    if isinstance(calls, list | tuple):
        extra["tool_calls"] = [_with_parsed_arguments(call) for call in calls]
    return {**extra, "role": message.role, "content": message.content}


def _with_parsed_arguments(call: Any) -> Any:
    if not isinstance(call, Mapping) or not isinstance(function := call.get("function"), Mapping):
        return call
    if not isinstance(arguments := function.get("arguments"), str):
        return call
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call
