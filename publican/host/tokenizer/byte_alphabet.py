"""GPT-2's alphabet: a printable character for each byte, in which byte-level vocabularies are written.

Printable bytes of Latin-1 stand for themselves; the other 68 get the characters from U+0100 on, in order.
Source: Radford et al., "Language Models are Unsupervised Multitask Learners", `bytes_to_unicode` of its code.
"""

from __future__ import annotations

from collections.abc import Iterable

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
BYTE_TO_CHARACTER: dict[int, str] = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + index) for index, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))
}
_NOT_SPELT = "\ufffe"
_TO_LATIN1 = dict.fromkeys(range(256), _NOT_SPELT) | {ord(char): byte for byte, char in BYTE_TO_CHARACTER.items()}
_SEPARATOR = "\uffff"


def decode_all(texts: Iterable[str]) -> list[bytes]:
    """The bytes that each text spells. A text with any other character is taken as it is.

    All at once, since a vocabulary has a hundred thousand: one translation of everything is several times as fast.
    """
    texts = list(texts)
    spelt = _SEPARATOR.join(texts).translate(_TO_LATIN1).split(_SEPARATOR)
    if len(spelt) != len(texts):  # a hostile vocabulary holds the separator itself
        spelt = [text.translate(_TO_LATIN1) for text in texts]
    return [_bytes_of(text, bytes_as_latin1) for text, bytes_as_latin1 in zip(texts, spelt, strict=True)]


def _bytes_of(text: str, spelt: str) -> bytes:
    try:
        return spelt.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
