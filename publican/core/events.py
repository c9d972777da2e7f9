"""What a request gives back: a stream of these, in order, ending in exactly one `Finished` or `Failed`.

Queued*  Started  (Delta | ToolCallDelta | ChoiceFinished)*  Finished
Queued*  Embedded                                            Finished      where a vector was asked for
                                          or Failed, anywhere
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from publican.core.errors import PublicanError
from publican.core.ids import TokenId


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    """A stop string, a stop token or the model's own end-of-sequence token; `ChoiceFinished.stopped_by` says which."""
    LENGTH = "length"
    """`max_tokens` were generated, or the context is full."""
    TOOL_CALLS = "tool_calls"
    """The model called tools, and waits for what they give."""
    ABORTED = "aborted"
    """Somebody asked for an early end; the text so far stands."""


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One alternative at a position; `text` is the token's piece, which may be half a character: `piece` has the bytes."""

    id: TokenId
    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """A token that was chosen (or stood in the prompt), with its log probability where that was wanted.

    `logprob` is None for the prompt's first token and wherever none was asked for.
    """

    id: TokenId
    piece: bytes = b""
    logprob: float | None = None
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting; sent again when it changes. `position` 0 is next."""

    position: int
    estimate_s: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is computed; the first token comes next.

    `prompt` is filled only if `echo` or `prompt_logprobs` was wanted, `prompt_text` only for `echo`.
    """

    num_prompt_tokens: int
    prompt: tuple[TokenOutput, ...] = ()
    prompt_text: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """More of choice `index`: whole characters of text, and the tokens whose text this completes.

    The text is never half a character and never part of a stop string. It may be empty where the token has no text.
    `reasoning` is text of what the model thinks before it answers, where the request wants that apart.
    """

    index: int
    text: str
    tokens: tuple[TokenOutput, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call in choice `index`. The first of call number `call` has its id and name, all of them a piece of the
    arguments, which together are JSON text (an object) if the model wrote it well."""

    index: int
    call: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """Choice `index` has ended. `stopped_by` is the stop string or the token that ended it, None for a length."""

    index: int
    reason: FinishReason
    stopped_by: str | TokenId | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the model made of a prompt that was to become a vector: as many numbers as a hidden state has, of any length."""

    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts and times of a whole request. Prompt tokens count once however many choices there are.

    `num_cached_tokens` of the prompt's tokens were found in the prefix cache.
    Times are seconds: in the queue, from its end to the first token, from there to the end.
    """

    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """Every choice has ended."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    """The request could not be finished; `error` says why in a sentence that the caller may see."""

    error: PublicanError


Event = Queued | Started | Delta | ToolCallDelta | ChoiceFinished | Embedded | Finished | Failed
