"""The chat templates of one model: its own, built-in ones by name, the host's, and whatever a request brings along.

`ChatTemplates` chooses and renders, on any thread (rendering takes a millisecond, the first time with a template up to a tenth
of a second, so call it off the event loop). `template_files` finds templates; what one may do and how much of it is
`templating`'s matter; how tools look to a template that knows none is `answers.showing`'s.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

from publican.core.errors import InvalidRequest, SettingsError
from publican.core.ids import TokenId
from publican.core.request import ChatPrompt, Message
from publican.host.answers import json_text
from publican.host.answers.forcing import offered
from publican.host.answers.showing import as_wire, has_tools, introduced, shown
from publican.host.answers.style import Style, style_of
from publican.host.retold import tellings
from publican.host.templating.chat_template import ChatTemplate, TemplateFailure, TemplateRefusal
from publican.host.templating.meter import Limits

BUILT_IN = ("alpaca", "chatml", "gemma", "llama2", "llama3", "mistral", "vicuna")
DEFAULT, WITH_TOOLS = "default", "tool_use"
_MAX_COMPILED = 32
_REQUESTED = Limits(cpu_s=1.0)
"""Of a template that came with a request, and not with the model or with us."""
_MAX_RETELLING_S = 0.5
"""After so much of a thread's time no other way is tried: a template that takes long to refuse may mean to."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What else is known of a model, or was chosen by its owner.

    Attributes:
        name: what it is called.
        special: the ids of its special tokens by their texts.
        more: the host's own templates, Jinja text by name in small letters.
        template: the one to use in place of the model's own, by name.
        calls, thoughts: see `answers.style.style_of`.
    """

    name: str = ""
    special: Mapping[str, TokenId] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    calls: str = ""
    thoughts: str = ""


class _Compiled(NamedTuple):
    template: ChatTemplate
    style: Style


class ChatTemplates:
    """Follows `prompts.Template`.

    Args:
        named: the model's own templates, Jinja text by name; `default` is used unless another is asked for.
        bos, eos: the texts of the tokens that templates call `bos_token` and `eos_token`.
        fallback: the built-in template to use if the model has none of its own.

    Attributes:
        source: the template that is used unless another is asked for.

    Raises:
        SettingsError: what `ways` chooses is not to be had.
    """

    def __init__(self, named: Mapping[str, str], bos: str, eos: str, fallback: str, ways: Ways = Ways()) -> None:
        self._named = dict(named)
        self._tokens = bos, eos
        self._ways = ways
        self._compiled: dict[str, _Compiled] = {}
        self._lock = threading.Lock()
        if ways.template:
            self._named[DEFAULT] = self._chosen(ways.template)
        self.source = self._named.get(DEFAULT) or built_in_source(fallback)
        self._style_of(self.source)

    def _chosen(self, name: str) -> str:
        source = self._find(name)
        if source is None:
            raise SettingsError(f"There is no chat template {name!r:.60}; choose one of: {', '.join(self.names)}.")
        return source

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
    def names(self) -> tuple[str, ...]:
        """Every template that can be asked for by name."""
        return tuple(sorted({*self._named, *self._ways.more, *BUILT_IN}))

    def render(self, prompt: ChatPrompt) -> str:
        """The text of `prompt`.

        Raises:
            InvalidRequest: there is no such template, it refuses the conversation, or it cannot be used.
        """
        template, style = self._compile(self._choose(prompt))
        if not style.offers_tools and has_tools(prompt):
            return _first(template, prompt, (shown(prompt, style.format, system_role) for system_role in (True, False)))
        text = _render(template, prompt, prompt.messages)
        if all(tool.name in text for tool in offered(prompt)):
            return text
        # it writes calls, and does not say what can be called (DeepSeek's first ones)
        told = (introduced(prompt, prompt.messages, style.format, system_role) for system_role in (True, False))
        return _first(template, prompt, told)

    def style(self, prompt: ChatPrompt) -> Style:
        """How the model answers `prompt`. Raises InvalidRequest if there is no such template."""
        return self._compile(self._choose(prompt)).style

    def _choose(self, prompt: ChatPrompt) -> str:
        """The Jinja text to use."""
        wanted = prompt.template
        if not wanted:
            with_tools = self._named.get(WITH_TOOLS) if offered(prompt) or prompt.variables.get("tools") else None
            return with_tools or self.source
        found = self._find(wanted)
        if found is None and ("{{" in wanted or "{%" in wanted):
            return wanted
        if found is None:
            known = ", ".join(self.names)
            raise InvalidRequest(f"There is no chat template {wanted!r:.60}; choose one of: {known}; or send Jinja text.")
        return found

    def _find(self, name: str) -> str | None:
        """The Jinja text of the template that is called `name`: the model's, the host's, or a built-in one."""
        if name in self._named:
            return self._named[name]
        if len(name) < _LONGEST_NAME and (source := self._ways.more.get(name.casefold())) is not None:
            return source
        built_in = built_in_name(name)
        return built_in_source(built_in) if built_in is not None else None

    def _style_of(self, source: str) -> Style:
        """What a person chose for the model holds for the model's own templates only."""
        ways = self._ways
        chosen = (ways.calls, ways.thoughts) if source == self.source or source in self._named.values() else ("", "")
        style = style_of(source, ways.special, ways.name, *chosen)
        _ = style.hidden  # made here, on a thread
        return style

    def _compile(self, source: str) -> _Compiled:
        with self._lock:
            compiled = self._compiled.get(source)
        if compiled is None:
            ours = source == self.source or source in self._named.values() or source in self._ways.more.values()
            template = ChatTemplate(source, *self._tokens, limits=Limits() if ours else _REQUESTED)
            compiled = _Compiled(template, self._style_of(source))
            with self._lock:
                if len(self._compiled) >= _MAX_COMPILED:
                    self._compiled.clear()
                self._compiled[source] = compiled
        return compiled


_LONGEST_NAME = 200


def built_in_name(wanted: str) -> str | None:
    """The built-in template that `wanted` means, however it is written (``Llama-v3``, ``Vicuna-v1.1``); None if it is none."""
    words = re.sub(r"[^a-z0-9]", "", wanted.lower()) if len(wanted) < 40 else ""
    words = re.sub(r"v(\d)", r"\1", words)
    return next((name for name in BUILT_IN if words == name or (words and words.rstrip("0123456789") == name)), None)


def built_in_source(name: str) -> str:
    """The Jinja text of the built-in template `name`."""
    return (files("publican.host") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def _first(template: ChatTemplate, prompt: ChatPrompt, ways: Iterable[tuple[Message, ...]]) -> str:
    """The first of `ways` that the template takes: some refuse system messages. Raises the last complaint."""
    complaint: InvalidRequest | None = None
    for messages in ways:
        try:
            return _render(template, prompt, messages)
        except InvalidRequest as error:
            complaint = error
    raise complaint or InvalidRequest("There is nothing to render.")


def _render(template: ChatTemplate, prompt: ChatPrompt, messages: tuple[Message, ...]) -> str:
    """Some templates refuse conversations that others take, and take them told a little otherwise. Their first complaint says
    most about the conversation as it came."""
    complaint: TemplateRefusal | None = None
    began_s = time.thread_time()
    for told in tellings(messages):
        if complaint is not None and time.thread_time() - began_s > _MAX_RETELLING_S:
            break
        try:
            return _told(template, prompt, told)
        except TemplateRefusal as error:
            complaint = complaint or error
    raise complaint or InvalidRequest("There is nothing to render.")


def _told(template: ChatTemplate, prompt: ChatPrompt, messages: tuple[Message, ...]) -> str:
    """Templates expect the arguments of calls as objects, but for a few that put JSON text together."""
    tools = [as_wire(tool) for tool in offered(prompt)]
    try:
        return _rendered(template, prompt, [_with_objects(message) for message in messages], tools)
    except InvalidRequest:
        if not any(message.extra.get("tool_calls") for message in messages):
            raise
    return _rendered(template, prompt, [_as_dict(message) for message in messages], tools)


def _rendered(template: ChatTemplate, prompt: ChatPrompt, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    try:
        return template.render(messages, continue_last=prompt.continue_last, tools=tools, variables=prompt.variables)
    except TemplateFailure:
        names = {**_older_names(tools), **prompt.variables}
        return template.render(messages, continue_last=prompt.continue_last, tools=tools, variables=names)


def _older_names(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What some templates count on: a list of tools even where there are none (those that are meant for tools only), and what
    FireFunction's users were told to give it. A date, and not a time, so that what is cached of one request serves the next."""
    today = datetime.now(UTC).strftime("%b %d %Y")
    return {"tools": tools, "functions": json_text.dump(tools) if tools else "", "datetime": today}


def _as_dict(message: Message) -> dict[str, Any]:
    return {**message.extra, "role": message.role, "content": message.content}


def _with_objects(message: Message) -> dict[str, Any]:
    """A message whose calls have their arguments as objects, where the wire has them as JSON text."""
    calls = message.extra.get("tool_calls")
    if not isinstance(calls, list | tuple):
        return _as_dict(message)
    return {**_as_dict(message), "tool_calls": [_with_parsed_arguments(call) for call in calls]}


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
