"""What clients of TGI read: a text with its details, or an event for each token. Pure: events in, JSON out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from publican.apis import sse
from publican.apis.fold import Choice, Fold
from publican.apis.rendering import Rendering
from publican.apis.tgi.errors import error_body
from publican.apis.tgi.translate import Shape
from publican.apis.token_text import finite, piece_name, split
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, FinishReason, Started, TokenOutput, TopLogprob, Usage
from publican.core.ids import TokenId


def whole(fold: Fold, shape: Shape) -> dict[str, Any]:
    """The answer to a whole request; of several tries the likeliest, as TGI does."""
    tries = sorted(fold.in_order(), key=_mean_logprob, reverse=True)
    best = tries[0]
    answer: dict[str, Any] = {"generated_text": shape.before + best.text}
    if shape.details:
        started = fold.started.get(0, Started(0))
        answer["details"] = _details(best, shape, started)
        if len(tries) > 1:
            others = ({"generated_text": shape.before + one.text, **_details(one, shape, started)} for one in tries[1:])
            answer["details"]["best_of_sequences"] = list(others)
    return answer


def _mean_logprob(choice: Choice) -> float:
    tokens = choice.tokens
    return sum(finite(token.logprob) or 0.0 for token in tokens) / max(1, len(tokens))


def _details(choice: Choice, shape: Shape, started: Started) -> dict[str, Any]:
    shown = [pair for text, tokens in choice.parts for pair in _pairs(text, tokens)]
    details = {
        "finish_reason": finish_reason(choice.reason, choice.stopped_by),
        "generated_tokens": len(shown),
        "seed": shape.seed,
        "prefill": [_prompt_token(token) for token in started.prompt] if shape.prefill else [],
        "tokens": [_token(token, text) for token, text in shown],
    }
    return details | ({"top_tokens": [_top(token) for token, _ in shown]} if shape.num_top else {})


class Stream(Rendering):
    """An event for each token. The last of them says everything at the end, so the newest token is always held back."""

    every_token = True

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._texts: list[str] = []
        self._early = ""
        self._held: dict[str, Any] | None = None
        self._num_tokens = 0
        self._num_prompt_tokens = 0
        self._finished: ChoiceFinished | None = None

    def started(self, base: int, started: Started) -> str:
        self._num_prompt_tokens = started.num_prompt_tokens
        return ""

    def delta(self, index: int, delta: Delta) -> str:
        self._texts.append(delta.text)
        self._early += delta.text
        if not delta.tokens:  # they come with the rest of the last one's text
            return ""
        text, self._early = self._early, ""
        return "".join(self._hold(token, part) for token, part in _pairs(text, delta.tokens))

    def _hold(self, token: TokenOutput, text: str) -> str:
        ready = self._release(None, None) if self._held is not None else ""
        self._num_tokens += 1
        self._held = {"index": self._num_tokens, "token": _token(token, text)}
        if self._shape.num_top:
            self._held["top_tokens"] = _top(token)
        return ready

    def _release(self, text: str | None, details: dict[str, Any] | None) -> str:
        said, self._held = self._held, None
        return sse.event({**(said or {}), "generated_text": text, "details": details})

    def choice_finished(self, index: int, finished: ChoiceFinished) -> str:
        self._finished = finished
        return ""

    def finished(self, usage: Usage) -> str:
        end = self._finished or ChoiceFinished(0, FinishReason.ABORTED)
        if self._held is None:  # clients take every event for a token, so an answer without any has an empty one
            self._held = {"index": 0, "token": {"id": _id_of(end), "text": "", "logprob": 0.0, "special": True}}
        details = {
            "finish_reason": finish_reason(end.reason, end.stopped_by),
            "generated_tokens": self._num_tokens,
            "seed": self._shape.seed,
            "input_length": self._num_prompt_tokens,
        }
        return self._release(self._shape.before + "".join(self._texts), details if self._shape.details else None)

    def failed(self, error: PublicanError) -> bytes:
        held = self._release(None, None) if self._held is not None else ""
        return (held + sse.event(error_body(error, 0))).encode("ascii")


def finish_reason(reason: FinishReason, stopped_by: str | TokenId | None) -> str:
    if reason is FinishReason.LENGTH:
        return "length"
    return "stop_sequence" if isinstance(stopped_by, str) else "eos_token"


def _id_of(end: ChoiceFinished) -> int:
    return end.stopped_by if isinstance(end.stopped_by, int) else 0


def _pairs(text: str, tokens: Sequence[TokenOutput]) -> Iterator[tuple[TokenOutput, str]]:
    return zip(tokens, split(text, tokens), strict=True)


def _token(token: TokenOutput, shown: str) -> dict[str, Any]:
    """A special token is one with a name of its own that the text does not show; half a character shows nothing either."""
    name = piece_name(token.piece)
    special = bool(token.piece) and not shown and not name.startswith("bytes:")
    return {"id": token.id, "text": name if special else shown, "logprob": finite(token.logprob), "special": special}


def _top(token: TokenOutput) -> list[dict[str, Any]]:
    return [_alternative(one) for one in token.top]


def _alternative(one: TopLogprob) -> dict[str, Any]:
    return {"id": one.id, "text": piece_name(one.piece), "logprob": finite(one.logprob), "special": False}


def _prompt_token(token: TokenOutput) -> dict[str, Any]:
    return {"id": token.id, "text": piece_name(token.piece), "logprob": finite(token.logprob)}


def spans(text: str, tokens: Sequence[TokenId], pieces: Sequence[bytes]) -> list[dict[str, Any]]:
    """Where in `text` each token stands, in characters; a token that is not in the text stands between two."""
    data = text.encode()
    starts = [0] * (len(data) + 1)  # how many characters begin before each byte
    for at, byte in enumerate(data):
        starts[at + 1] = starts[at] + (byte & 0xC0 != 0x80)
    found: list[dict[str, Any]] = []
    at = 0
    for id, piece in zip(tokens, pieces, strict=True):
        bare = piece[1:] if piece.startswith(b" ") and not data.startswith(piece, at) else piece
        end = at + len(bare) if bare and data.startswith(bare, at) else at
        start, stop = starts[at], starts[end]
        found.append({"id": id, "text": text[start:stop] or piece_name(piece), "start": start, "stop": stop})
        at = end
    return found
