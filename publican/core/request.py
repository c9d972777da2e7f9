"""`Request`: one thing asked of a model, as every dialect says it. Immutable once accepted."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from publican.core.errors import InvalidParameter
from publican.core.ids import RequestId, TokenId
from publican.core.sampling import SamplingParams

MAX_CHOICES = 64
MAX_STOP_STRINGS = 256
MAX_STOP_LEN = 1_000
MAX_TOP_LOGPROBS = 256
"""Of one token. Dialects have smaller limits of their own (OpenAI 20); looking at a distribution wants more."""


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text that the model goes on writing. Special tokens in it are read as such.

    `add_bos` puts the model's beginning-of-sequence token first where the model wants one and the text has none.
    """

    text: str
    add_bos: bool = True


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """Token ids, used as they are."""

    tokens: tuple[TokenId, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `extra` goes to the chat template as it came (`name`, `tool_calls`, `tool_call_id`, …)."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


ToolChoice = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation, rendered by the model's own chat template.

    `tools` are offered to the model. `tool_choice` leaves it to call them, forbids it, demands a call, or demands a call of
    the `Tool` it is; what is demanded is enforced by a grammar. With `parallel_calls` it may make several in one answer.

    `continue_last` goes on with the last message instead of opening a new answer. `template` names or is another template;
    None is the model's own. `variables` are handed to the template.
    """

    messages: tuple[Message, ...]
    continue_last: bool = False
    template: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | Tool = "auto"
    parallel_calls: bool = True


Prompt = TextPrompt | TokenPrompt | ChatPrompt


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop. Whatever is here, a full context stops it too.

    Attributes:
        max_tokens: tokens to generate at most; None is as many as the context takes.
        strings: stop as soon as one of these appears; the text ends before it unless `include_string`.
        token_ids: stop at these tokens, besides the model's own end-of-sequence tokens.
        ignore_eos: go on after an end-of-sequence token.
    """

    max_tokens: int | None = None
    strings: tuple[str, ...] = ()
    include_string: bool = False
    token_ids: tuple[TokenId, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 0:
            raise InvalidParameter("max_tokens", f"must be 0 or more, got {self.max_tokens}.")
        if len(self.strings) > MAX_STOP_STRINGS:
            raise InvalidParameter("stop", f"takes at most {MAX_STOP_STRINGS} strings, got {len(self.strings)}.")
        if any(not s or len(s) > MAX_STOP_LEN for s in self.strings):
            raise InvalidParameter("stop", f"takes strings of 1 to {MAX_STOP_LEN:,} characters.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer should hold.

    Attributes:
        num_choices: independent answers to the same prompt; answer i is sampled with seed + i.
        logprobs: None for none; otherwise the chosen token's log probability and this many of the likeliest beside it.
        prompt_logprobs: the same for the prompt's tokens (its first has none).
        echo: the answer's text begins with the prompt's.
        special_tokens: whether special tokens appear in the text.
        split_reasoning: what a model thinks before it answers comes apart from the answer, as `Delta.reasoning`; otherwise
            it stays in the text as the model writes it.
        truncate_prompt: None refuses a prompt that leaves no room; a number keeps only its last tokens, that many at most
            (and never so many that `max_tokens` would not fit).
    """

    num_choices: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    echo: bool = False
    special_tokens: bool = False
    split_reasoning: bool = False
    truncate_prompt: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_choices <= MAX_CHOICES:
            raise InvalidParameter("n", f"must be between 1 and {MAX_CHOICES}, got {self.num_choices}.")
        for name in ("logprobs", "prompt_logprobs"):
            wanted = getattr(self, name)
            if wanted is not None and not 0 <= wanted <= MAX_TOP_LOGPROBS:
                raise InvalidParameter(name, f"must be between 0 and {MAX_TOP_LOGPROBS}, got {wanted}.")
        if self.truncate_prompt is not None and self.truncate_prompt < 1:
            raise InvalidParameter("truncate_prompt", f"must be 1 or more, got {self.truncate_prompt}.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `user` groups requests for fairness and statistics; `admin` may change what is loaded."""

    user: str = "local"
    admin: bool = False


def new_request_id(prefix: str = "req") -> RequestId:
    return RequestId(f"{prefix}-{uuid.uuid4().hex}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        model: the name the caller gave; None is whatever model is loaded. One that is an adapter's name chooses that.
        dialect: where it came from; chooses between variants where peers disagree.
        adapter: the adapter of the loaded model to answer with; None leaves it to `model`, and empty is none.
    """

    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stopping: Stopping = field(default_factory=Stopping)
    wanted: Wanted = field(default_factory=Wanted)
    model: str | None = None
    caller: Caller = field(default_factory=Caller)
    dialect: Literal["openai", "ooba"] | str = "openai"
    id: RequestId = field(default_factory=new_request_id)
    adapter: str | None = None
