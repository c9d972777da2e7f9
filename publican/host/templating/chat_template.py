"""`ChatTemplate`: one Jinja template, compiled, that turns a conversation into the text a model was taught to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateSyntaxError
from jinja2.exceptions import SecurityError, TemplateError

from publican.core.errors import InvalidRequest
from publican.host.templating.environment import MeteredEnvironment, RefusedError
from publican.host.templating.instrument import UnusableTemplateError
from publican.host.templating.meter import Limits, TemplateLimitError

MAX_SOURCE_LEN = 128 << 10
"""The longest template in use has 17,000 characters."""
_MAX_REASON_LEN = 500
_MARK = "\ue0f0\ue0f1\ue0f2"
"""Stands where the last message ends; private characters, so that no template does anything to it."""


class TemplateRefusal(InvalidRequest):
    """The template itself refuses the conversation, in its own words; it may take the same told otherwise."""


class TemplateFailure(InvalidRequest):
    """The template's program fails: a name or a form that it expects is not there."""


class ChatTemplate:
    """A template. Immutable; any thread may render.

    Args:
        source: the Jinja text.
        bos, eos: the texts of the tokens that templates call `bos_token` and `eos_token`.
        limits, now: see `MeteredEnvironment`.

    Raises:
        InvalidRequest: it is not a template that can be used.
    """

    def __init__(
        self,
        source: str,
        bos: str = "",
        eos: str = "",
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        if len(source) > MAX_SOURCE_LEN:
            raise InvalidRequest(f"The chat template has {len(source):,} characters, and {MAX_SOURCE_LEN:,} are the most.")
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._environment = MeteredEnvironment(limits, now)
        try:
            self._template = self._environment.from_string(source)
        except UnusableTemplateError as error:
            raise InvalidRequest(f"The chat template {error}.") from None
        except TemplateSyntaxError as error:
            reason = str(error.message)[:_MAX_REASON_LEN]
            raise InvalidRequest(f"The chat template is not valid Jinja: {reason} (line {error.lineno}).") from None
        except Exception as error:  # noqa: BLE001 - whatever a hostile source does to the compiler
            raise InvalidRequest(f"The chat template cannot be compiled ({type(error).__name__}); use another one.") from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        continue_last: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for `messages`, each with at least `role` and `content`.

        Args:
            continue_last: end within the last message instead of opening a new one.
            variables: further names for the template; they may also overrule `tools` and `add_generation_prompt`.

        Raises:
            TemplateRefusal, TemplateFailure: see there.
            InvalidRequest: it wants too much, or what it may not have.
        """
        messages = list(messages)
        if continue_last:
            add_generation_prompt = False
            messages = _marked(messages)
        names: dict[str, Any] = {"tools": tools or None, "documents": None, "add_generation_prompt": add_generation_prompt}
        names |= dict(variables or {})
        names |= {"messages": messages, **self._tokens}
        text = self._run(names)
        if not continue_last:
            return text
        end = text.rfind(_MARK)
        if end < 0:
            raise InvalidRequest("The chat template leaves out the end of the last message, so it cannot be continued.")
        return text[:end].replace(_MARK, "")

    def _run(self, names: Mapping[str, Any]) -> str:
        try:
            with self._environment.metering() as meter:
                parts, num_chars = [], 0
                for part in self._template.root_render_func(self._template.new_context(dict(names))):
                    meter.tick()
                    num_chars += len(part)
                    meter.check_text_len(num_chars)
                    parts.append(part)
            return "".join(parts)
        except RefusedError as error:
            raise TemplateRefusal(str(error)[:_MAX_REASON_LEN] or "The chat template refuses this conversation.") from None
        except TemplateLimitError as error:
            raise InvalidRequest(f"The chat template was stopped: {error}.") from None
        except SecurityError as error:
            raise InvalidRequest(f"The chat template does what it may not: {_reason(error)}.") from None
        except TemplateError as error:
            raise TemplateFailure(f"The chat template cannot render this conversation: {_reason(error)}.") from None
        except Exception as error:  # noqa: BLE001 - a program that somebody else wrote may fail in any way
            raise TemplateFailure(
                f"The chat template cannot render this conversation ({type(error).__name__}: {_reason(error)})."
            ) from None


def _marked(messages: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if not messages:
        raise InvalidRequest("There is no last message to continue.")
    last = messages[-1]
    content = last.get("content")
    if not isinstance(content, str):
        raise InvalidRequest("The last message has no text to continue.")
    return [*messages[:-1], {**last, "content": content + _MARK}]


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".")[:_MAX_REASON_LEN] or type(error).__name__
