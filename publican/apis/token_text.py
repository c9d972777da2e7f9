"""Tokens as text, for log probabilities: which token stands for which characters, and how half a character is said. Pure."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence

from publican.core.events import TokenOutput

LEAST_LOGPROB = -9999.0
"""JSON has no minus infinity; this is what the field says instead."""


def piece_name(piece: bytes) -> str:
    """A token's own text; bytes that are no text are spelled out, as ``bytes:\\\\xf0\\\\x9f``, so that no two are alike."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def finite(logprob: float | None) -> float | None:
    """A log probability that JSON can say."""
    if logprob is None:
        return None
    return logprob if logprob > LEAST_LOGPROB and math.isfinite(logprob) else LEAST_LOGPROB


def split(text: str, tokens: Sequence[TokenOutput]) -> list[str]:
    """`text` cut into one part for each of `tokens` whose text it is. The parts joined are `text`, whatever comes.

    A character made of several tokens belongs to the last of them. A token that does not show (a special one, or what came
    after a stop string) has the empty part.
    """
    if len(tokens) <= 1:
        return [text][: len(tokens)]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts: list[str] = []
    at = 0
    for token in tokens:
        piece = decoder.decode(token.piece)
        shown = piece if text.startswith(piece, at) else ""
        if piece and not shown and at < len(text) and piece.startswith(text[at:]):
            shown = text[at:]  # the rest of this token was cut off by a stop string
        parts.append(shown)
        at += len(shown)
    parts[-1] += text[at:]
    return parts
