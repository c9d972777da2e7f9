"""Whether coming tokens are guessed (`engine.drafting`). Pure."""

from __future__ import annotations

from typing import Literal

from publican.host.options import Loader, NativeBackend

_AT_MOST = 8
_AT_MOST_DRAFTED, _AT_MOST_ON_GPU = 16, 64

Wish = Literal["auto", "ngram", "off"]


def has_draft(wish: Wish, draft_model: str) -> bool:
    """Whether a draft model is loaded. One that was named waits while a person has guesses turned off, or looked up."""
    return bool(draft_model) and wish == "auto"


def max_drafting(backend: NativeBackend) -> int:
    """`max_guessing` with a draft model: an upper bound, for the engine works out what pays by the times it measures."""
    return _AT_MOST_ON_GPU if backend == "cuda" else _AT_MOST_DRAFTED


def max_guessing(wish: Wish, loader: Loader) -> int:
    """`Engine`'s argument of that name. Native computes eight tokens of one answer in three times the time of one, so guesses
    pay as soon as a third of them comes true; libllama on a CPU takes six times, and they never would."""
    return _AT_MOST if wish == "ngram" or (wish == "auto" and loader == "native") else 0
