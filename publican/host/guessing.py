"""Whether coming tokens are guessed (`engine.drafting`). Pure."""

from __future__ import annotations

from typing import Literal

from publican.host.options import Loader

_AT_MOST = 8


def max_guessing(wish: Literal["auto", "ngram", "off"], loader: Loader) -> int:
    """`Engine`'s argument of that name. Native computes eight tokens of one answer in three times the time of one, so guesses
    pay as soon as a third of them comes true; libllama on a CPU takes six times, and they never would."""
    return _AT_MOST if wish == "ngram" or (wish == "auto" and loader == "native") else 0
