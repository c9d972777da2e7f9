"""`TableTokenizer`: special tokens first, an encoder for the text between them, pieces for the way back.

What all vocabularies have in common that come as a table of tokens. Immutable apart from its encoder's cache; any thread may
call, and long texts release the GIL where the encoder does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.host.tokenizer.special import SpecialTokens
from publican.host.tokenizer.spm import SPACE
from publican.host.tokenizer.unicode import without_surrogates

Encoder = Callable[[str], list[TokenId]]


@dataclass(frozen=True, slots=True)
class TextRules:
    """What is done to text before it is encoded.

    Attributes:
        add_bos: the model wants its beginning-of-sequence token first.
        space_prefix: a space goes before text that begins the prompt or follows a special token.
        escape_spaces: spaces are written as ▁.
    """

    add_bos: bool
    space_prefix: bool = False
    escape_spaces: bool = False


class TableTokenizer:
    """Follows `core.tokenizer.Tokenizer`.

    Args:
        special: the tokens to look for in a prompt; plain: those to look for even if special ones are to be read as text.
    """

    def __init__(
        self, vocabulary: Vocabulary, encode: Encoder, rules: TextRules, special: SpecialTokens, plain: SpecialTokens
    ) -> None:
        self._vocabulary = vocabulary
        self._encode = encode
        self._rules = rules
        self._special = special
        self._plain = plain

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def encode(self, text: str, add_bos: bool = True, parse_special: bool = True) -> list[TokenId]:
        tokens: list[TokenId] = []
        after_special = True
        for part in (self._special if parse_special else self._plain).split(without_surrogates(text)):
            if part.token is not None:
                tokens.append(part.token)
            else:
                tokens += self._encode(self._prepare(part.text, after_special))
            after_special = part.token is not None
        bos = self._vocabulary.bos
        if add_bos and self._rules.add_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def decode(self, tokens: Sequence[TokenId], skip_special: bool = True) -> str:
        return decode_pieces(self._vocabulary, tokens, skip_special)

    def _prepare(self, text: str, after_special: bool) -> str:
        if self._rules.space_prefix and after_special:
            text = " " + text
        return text.replace(" ", SPACE) if self._rules.escape_spaces else text


def decode_pieces(vocabulary: Vocabulary, tokens: Sequence[TokenId], skip_special: bool) -> str:
    """The text of `tokens`; bytes that are no UTF-8 become U+FFFD."""
    hidden: frozenset[TokenId] = vocabulary.special if skip_special else frozenset()
    return b"".join(vocabulary.pieces[token] for token in tokens if token not in hidden).decode("utf-8", "replace")
