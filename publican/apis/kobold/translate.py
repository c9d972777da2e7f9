"""Kobold's bodies to requests. Pure: raises what is wrong, knows no HTTP and no host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from publican.apis.asking import Asking
from publican.apis.casts import cast
from publican.apis.fields import refuse_unsupported, sampling_from
from publican.apis.formats import grammar_or_schema
from publican.apis.kobold.schema import GenerateBody
from publican.core.ids import TokenId
from publican.core.request import Request, Stopping, TextPrompt, TokenPrompt, Wanted, new_request_id
from publican.core.sampling import SAMPLING_PARAMETERS

NAME = "kobold"
MAX_LENGTH = 512
"""Tokens of an answer whose length the caller does not say."""
NUM_TOP = 5
"""Alternatives beside each token, where log probabilities are wanted."""

_PROMPT_SHARE = 0.2
"""An answer never takes more of the context than leaves this much for the prompt."""

_UNSUPPORTED = {"images": bool, "audio": bool, "tools": bool, "soft_prompt": bool}


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, understood.

    Attributes:
        genkey: what the caller calls this answer; empty for nothing.
        memory, prompt: the texts that the request's prompt is made of.
        room: tokens that both may have together.
        logprobs: whether the answer says them.
    """

    request: Request
    genkey: str
    memory: str
    prompt: str
    room: int
    logprobs: bool


def generate(body: Mapping[str, Any], asking: Asking, context_len: int) -> Asked:
    """POST /api/v1/generate and its streaming twin, for a model with `context_len` tokens. Raises InvalidRequest."""
    sent = GenerateBody.of(body)
    refuse_unsupported(body, _UNSUPPORTED)
    context_len = min(sent.max_context_length or context_len, context_len)
    max_tokens = max(1, min(sent.max_length or MAX_LENGTH, int(context_len * (1 - _PROMPT_SHARE))))
    room = max(1, context_len - max_tokens)
    stopping = Stopping(
        max_tokens=max_tokens,
        strings=tuple(sent.stop_sequence),
        include_string=not sent.trim_stop,
        ignore_eos=sent.bypass_eos,
    )
    wanted = Wanted(
        num_choices=sent.n,
        logprobs=NUM_TOP if sent.logprobs else None,
        special_tokens=sent.render_special,
        truncate_prompt=room,
    )
    sampling = sampling_from(NAME, cast(SAMPLING_PARAMETERS, NAME, grammar_or_schema(body)), asking.presets)
    prompt = TextPrompt(sent.memory + sent.prompt)
    request = Request(prompt, sampling, stopping, wanted, caller=asking.caller, dialect=NAME, id=new_request_id("kobold"))
    return Asked(request, sent.genkey, sent.memory, sent.prompt, room, sent.logprobs)


def with_memory(memory: Sequence[TokenId], prompt: Sequence[TokenId], room: int) -> TokenPrompt:
    """Both in `room` tokens: of the prompt its end, of the memory its end where even that does not fit."""
    kept = tuple(memory)[-room:]
    left = room - len(kept)
    return TokenPrompt((*kept, *(tuple(prompt)[-left:] if left else ())))
