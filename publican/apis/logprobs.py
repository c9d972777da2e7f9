"""Log probabilities in OpenAI's two forms: the lists of completions, and the objects of chat completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from publican.apis.token_text import LEAST_LOGPROB, finite, piece_name, split
from publican.core.events import Started, TokenOutput, TopLogprob


def token_name(token: TokenOutput | TopLogprob, as_id: bool = False) -> str:
    return f"token_id:{token.id}" if as_id else piece_name(token.piece)


def completion_logprobs(
    parts: Sequence[tuple[str, Sequence[TokenOutput]]], offset: int, as_ids: bool = False
) -> dict[str, list[Any]]:
    """The `logprobs` of a completion's choice, or of one chunk of it.

    Args:
        parts: texts and the tokens they are made of.
        offset: how many characters of the choice came before.

    The chosen token is always among the likeliest; a prompt's first token has no probability and says null twice.
    """
    names: list[str] = []
    chosen: list[float | None] = []
    likeliest: list[dict[str, float | None] | None] = []
    offsets: list[int] = []
    for text, tokens in parts:
        for token, shown in zip(tokens, split(text, tokens), strict=True):
            name, logprob = token_name(token, as_ids), finite(token.logprob)
            names.append(name)
            chosen.append(logprob)
            offsets.append(offset)
            top = {token_name(one, as_ids): finite(one.logprob) for one in token.top}
            likeliest.append(None if logprob is None else top | {name: logprob})
            offset += len(shown)
    return {"tokens": names, "token_logprobs": chosen, "top_logprobs": likeliest, "text_offset": offsets}


def chat_logprobs(tokens: Sequence[TokenOutput], num_top: int, as_ids: bool = False) -> dict[str, Any]:
    """The `logprobs` of a chat completion's choice, or of one chunk of it."""
    content = [
        _entry(token, as_ids) | {"top_logprobs": [_entry(one, as_ids) for one in token.top[:num_top]]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def _entry(token: TokenOutput | TopLogprob, as_ids: bool) -> dict[str, Any]:
    logprob = finite(token.logprob)
    return {
        "token": token_name(token, as_ids),
        "logprob": LEAST_LOGPROB if logprob is None else logprob,
        "bytes": list(token.piece),
    }


def prompt_logprobs(started: Started) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: by token id, for each token of the prompt; null for the first."""
    return [
        None if token.logprob is None else {str(one.id): _ranked(one) for one in _likeliest(token)} for token in started.prompt
    ]


def _likeliest(token: TokenOutput) -> list[TokenOutput | TopLogprob]:
    return [*token.top, token]


def _ranked(token: TokenOutput | TopLogprob) -> dict[str, Any]:
    return {"logprob": finite(token.logprob), "rank": None, "decoded_token": piece_name(token.piece)}
