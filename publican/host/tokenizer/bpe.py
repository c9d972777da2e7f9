"""Byte-pair encoding by ranked merges, on the `tokenizers` library. Any thread may call; the GIL is released meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers

from publican.core.errors import ModelFileError
from publican.core.ids import TokenId
from publican.host.tokenizer.byte_alphabet import BYTE_TO_CHARACTER
from publican.host.tokenizer.pre_tokenizers import PreTokenizer as Rules


class RankedBPE:
    """Merges of one vocabulary.

    Args:
        ids: every token's id by its text.
        merges: pairs, the one that is made first first. Those that make no token are left out.
        rules: how text is cut into words beforehand.

    Raises:
        ModelFileError: the library does not take the vocabulary.
    """

    def __init__(self, ids: Mapping[str, TokenId], merges: Sequence[tuple[str, str]], rules: Rules) -> None:
        self._size = max(ids.values(), default=-1) + 1
        vocabulary = {text: token for text, token in ids.items() if text.isascii() or _is_unicode(text)}
        if rules.byte_level:
            # A byte without a token is dropped, but only in the end: until then it keeps its neighbours apart.
            missing = [character for character in BYTE_TO_CHARACTER.values() if character not in vocabulary]
            vocabulary |= {character: TokenId(self._size + index) for index, character in enumerate(missing)}
        try:
            model = _model(vocabulary, merges, rules)
        except Exception:  # noqa: BLE001 - the library's only kind of error; a merge that makes no token is the usual cause
            merges = [(a, b) for a, b in merges if a in vocabulary and b in vocabulary and a + b in vocabulary]
            try:
                model = _model(vocabulary, merges, rules)
            except Exception as error:  # noqa: BLE001 - see above
                raise ModelFileError(f"The vocabulary cannot be used ({error}); get another copy of the model.") from None
        self._tokenizer = Tokenizer(model)
        steps: list[PreTokenizer] = [Split(Regex(pattern), "isolated") for pattern in rules.patterns]
        if rules.byte_level:
            steps.append(ByteLevel(add_prefix_space=False, use_regex=False))
        self._tokenizer.pre_tokenizer = PreTokenizers(steps)

    def encode(self, text: str) -> list[TokenId]:
        """The tokens of `text`. Characters without a token are dropped."""
        # Of the library's two ways in, only the one for batches releases the GIL.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        tokens = cast(list[TokenId], encoding.ids)
        if tokens and max(tokens) >= self._size:
            tokens = [token for token in tokens if token < self._size]
        return tokens


def _model(vocabulary: dict[str, TokenId], merges: Sequence[tuple[str, str]], rules: Rules) -> BPE:
    return BPE(dict(vocabulary), list(merges), ignore_merges=rules.ignore_merges, byte_fallback=not rules.byte_level)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
