"""llama.cpp's answers, whole or as they come. Pure: events in, JSON out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from publican.apis import sse
from publican.apis.errors import status_of
from publican.apis.fold import Choice, Fold
from publican.apis.llamacpp.errors import LLAMACPP, error_body
from publican.apis.llamacpp.settings import generation_settings
from publican.apis.llamacpp.translate import Shape
from publican.apis.rendering import Rendering
from publican.apis.token_text import finite, piece_name, split
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, FinishReason, Started, TokenOutput, TopLogprob, Usage
from publican.core.request import Request, TextPrompt, TokenPrompt


class Answer(Rendering):
    """One call's answer. `render` says it as it comes, `whole` at once; both end in the same objects.

    Args:
        requests: one for each prompt, as many choices each.
        model: the name that answers carry.
    """

    def __init__(self, requests: Sequence[Request], shape: Shape, model: str) -> None:
        self._requests, self._shape, self._model = tuple(requests), shape, model
        self._num_choices = requests[0].wanted.num_choices
        self._num_prompt_tokens: dict[int, int] = {}
        self._choices: dict[int, Choice] = {}
        self.every_token = shape.every_token

    # --- whole

    def whole(self, fold: Fold) -> Any:
        self._num_prompt_tokens = {base: started.num_prompt_tokens for base, started in fold.started.items()}
        answers = [self._final(choice, fold.usage, choice.text) for choice in fold.in_order()]
        return answers if self._shape.as_list else answers[0]

    # --- streamed

    def started(self, base: int, started: Started) -> str:
        self._num_prompt_tokens[base] = started.num_prompt_tokens
        return ""

    def delta(self, index: int, delta: Delta) -> str:
        if not self.every_token or not delta.tokens:
            return self._partial(index, delta.text, delta.tokens)
        parts = split(delta.text, delta.tokens)
        return "".join(self._partial(index, part, (token,)) for part, token in zip(parts, delta.tokens, strict=True))

    def _partial(self, index: int, text: str, tokens: tuple[TokenOutput, ...]) -> str:
        choice = self._choice(index)
        choice.add(Delta(index, text, tokens))
        if not text and not self.every_token:
            return ""
        partial: dict[str, Any] = {
            "index": index,
            "content": text,
            "tokens": [token.id for token in tokens],
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": choice.num_tokens,
            "tokens_evaluated": self._num_evaluated(index),
        }
        if self._shape.every_token:
            partial["completion_probabilities"] = probabilities(tokens, self._shape.processed)
        return sse.event(partial)

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        choice = self._choice(index)
        choice.reason, choice.stopped_by = finished.reason, finished.stopped_by
        return ""

    def finished(self, usage: Usage) -> str:
        """What every choice ends with has times in it, which are known only now."""
        return "".join(sse.event(self._final(self._choices[index], usage, "")) for index in sorted(self._choices))

    def failed(self, error: PublicanError) -> bytes:
        return sse.event(error_body(error, status_of(error, LLAMACPP.statuses))).encode("ascii")

    def _choice(self, index: int) -> Choice:
        return self._choices.setdefault(index, Choice(index))

    def _num_evaluated(self, index: int) -> int:
        return self._num_prompt_tokens.get(index - index % self._num_choices, 0)

    # --- both

    def _final(self, choice: Choice, usage: Usage, text: str) -> dict[str, Any]:
        """How `choice` ends. In a stream its text has been said, and its probabilities too."""
        request = self._requests[choice.index // self._num_choices]
        said_now = bool(text) or not self._shape.stream
        answer: dict[str, Any] = {
            "index": choice.index,
            "content": text,
            "tokens": [token.id for token in choice.tokens] if said_now and self._shape.return_tokens else [],
            "id_slot": -1,
            "stop": True,
            "model": self._model,
            "tokens_predicted": choice.num_tokens,
            "tokens_evaluated": self._num_evaluated(choice.index),
            "generation_settings": generation_settings(request, self._shape.stream),
            "prompt": _shown(request),
            "has_new_line": "\n" in choice.text,
            "truncated": False,
            **stopped(choice),
            "tokens_cached": self._num_evaluated(choice.index) + choice.num_tokens,
            "timings": timings(usage),
        }
        if self._shape.every_token and said_now:
            answer["completion_probabilities"] = probabilities(choice.tokens, self._shape.processed)
        return picked(answer, self._shape.fields)


def stopped(choice: Choice) -> dict[str, str]:
    by_word = isinstance(choice.stopped_by, str)
    kinds = {FinishReason.LENGTH: "limit", FinishReason.ABORTED: "none"}
    kind = "word" if by_word else kinds.get(choice.reason, "eos")
    return {"stop_type": kind, "stopping_word": str(choice.stopped_by) if by_word else ""}


def timings(usage: Usage) -> dict[str, Any]:
    """Of the whole call. Tokens that were found in the cache took no time, and are counted apart."""
    num_prompt = usage.num_prompt_tokens - usage.num_cached_tokens
    return {
        "cache_n": usage.num_cached_tokens,
        **_times("prompt", num_prompt, usage.prefill_s),
        **_times("predicted", usage.num_completion_tokens, usage.decode_s),
    }


def _times(name: str, num_tokens: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": num_tokens,
        f"{name}_ms": round(seconds * 1e3, 3),
        f"{name}_per_token_ms": round(seconds * 1e3 / num_tokens, 3) if num_tokens else 0.0,
        f"{name}_per_second": round(num_tokens / seconds, 3) if seconds else 0.0,
    }


def probabilities(tokens: Sequence[TokenOutput], processed: bool) -> list[dict[str, Any]]:
    """`completion_probabilities`: logarithms, or with `processed` the probabilities that were drawn from."""
    top = "top_probs" if processed else "top_logprobs"
    return [{**_entry(token, processed), top: [_entry(one, processed) for one in token.top]} for token in tokens]


def _entry(token: TokenOutput | TopLogprob, processed: bool) -> dict[str, Any]:
    logprob = finite(token.logprob) or 0.0
    value = {"prob": math.exp(logprob)} if processed else {"logprob": logprob}
    return {"id": token.id, "token": piece_name(token.piece), "bytes": list(token.piece), **value}


def picked(answer: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Only `fields` of `answer`; ``a/b`` is what stands at b in a, and is moved to the top."""
    if not fields:
        return answer
    found: dict[str, Any] = {}
    for field in fields:
        value: Any = answer
        for key in field.split("/"):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found[field.rsplit("/", 1)[-1]] = value
    return found


def _shown(request: Request) -> Any:
    match request.prompt:
        case TextPrompt(text):
            return text
        case TokenPrompt(tokens):
            return list(tokens)
    return ""
