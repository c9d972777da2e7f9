"""Text that can be written in UTF-8."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """`text` with U+FFFD for every lone surrogate, which JSON can say and no tokenizer can read."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
