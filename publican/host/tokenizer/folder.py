"""The tokenizer of a Hugging Face folder: `tokenizer.json` as it is, on the library that it was written for.

Any thread may call; the GIL is released while text is encoded. Special tokens follow that library's rules.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.host.tokenizer.byte_alphabet import decode_all
from publican.host.tokenizer.end_tokens import END_TEXTS, fill_in_ends, lookalike_ends
from publican.host.tokenizer.spm import SPACE
from publican.host.tokenizer.table_tokenizer import decode_pieces
from publican.host.tokenizer.unicode import without_surrogates
from publican.store.bounded_json import read_object

MAX_TOKENIZER_BYTES = 128 << 20


class FolderTokenizer:
    """Follows `core.tokenizer.Tokenizer`.

    Args:
        library: the tokenizer, which nobody else may change.
        add_bos: whether the model wants its beginning-of-sequence token first.
        text_end: the token that it puts behind a text that is whole; None for none. Conversations go on, so `encode` adds none.
    """

    def __init__(self, library: Tokenizer, vocabulary: Vocabulary, add_bos: bool, text_end: TokenId | None = None) -> None:
        self.text_end = text_end
        self._library = library
        self._vocabulary = vocabulary
        self._add_bos = add_bos
        self._has_more_tokens = library.get_vocab_size() > vocabulary.size
        self._plain: Tokenizer | None = None  # made when it is first wanted: a second copy of the vocabulary
        self._plain_lock = threading.Lock()

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def encode(self, text: str, add_bos: bool = True, parse_special: bool = True) -> list[TokenId]:
        library = self._library if parse_special else self._reading_special_as_text()
        (encoding,) = library.encode_batch_fast([without_surrogates(text)], add_special_tokens=False)
        tokens = cast(list[TokenId], encoding.ids)
        if self._has_more_tokens:  # tokens that were added without a row of the model's embedding
            tokens = [token for token in tokens if token < self._vocabulary.size]
        bos = self._vocabulary.bos
        if add_bos and self._add_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def decode(self, tokens: Sequence[TokenId], skip_special: bool = True) -> str:
        return decode_pieces(self._vocabulary, tokens, skip_special)

    def _reading_special_as_text(self) -> Tokenizer:
        with self._plain_lock:
            if self._plain is None:
                self._plain = Tokenizer.from_str(self._library.to_str())
                self._plain.encode_special_tokens = True
            return self._plain


def folder_tokenizer(folder: Path, num_rows: int = 0) -> FolderTokenizer:
    """The tokenizer in `folder`; the vocabulary gets `num_rows` tokens, the rows of the model's embedding, if that is given.

    Raises:
        ModelFileError: it is missing or damaged.
        UnsupportedModel: a kind of tokenizer whose tokens cannot be turned back into bytes one by one.
    """
    library = _read_library(folder / "tokenizer.json")
    config = _read_config(folder)
    _add_tokens(library, config)
    ids = {text: TokenId(token) for text, token in library.get_vocab(with_added_tokens=True).items()}
    bos = _named_token(config, "bos", ids)
    end = _text_end(library, config, ids)
    vocabulary = Vocabulary(
        pieces := _pieces(library, ids, num_rows, folder.name),
        _special(library, pieces),
        _ends(library, ids, config),
        bos if bos is None or bos < len(pieces) else None,
    )
    text_end = end if end is None or end < len(pieces) else None
    return FolderTokenizer(library, vocabulary, _wants_bos(library, config, bos), text_end)


def _read_library(path: Path) -> Tokenizer:
    if not path.is_file():
        raise ModelFileError(f"The folder {path.parent.name} has no {path.name}; download it to the model's other files.")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelFileError(
            f"{path.name} of {path.parent.name} is larger than {MAX_TOKENIZER_BYTES >> 20} MiB; download it again."
        )
    try:
        library = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library's only kind of error
        raise ModelFileError(
            f"{path.name} of {path.parent.name} cannot be read ({str(error)[:120]}); download it again."
        ) from None
    library.no_truncation()
    library.no_padding()
    return library


def _read_config(folder: Path) -> dict[str, Any]:
    """What the small files say, the most particular last: later ones win."""
    config: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json", "special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            said = {key: value for key, value in read_object(folder / name).items() if value is not None}
            ends = [*_as_list(config.get("eos_token_id")), *_as_list(said.get("eos_token_id"))]
            config |= said | {"eos_token_id": ends}
    return config


def _add_tokens(library: Tokenizer, config: Mapping[str, Any]) -> None:
    """Tokens that only `tokenizer_config.json` knows. One is added only if it gets the number that it should have."""
    listed = config.get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return
    for key, entry in sorted(listed.items(), key=lambda item: int(item[0]) if item[0].isdecimal() else -1):
        text = _content(entry)
        if text and library.token_to_id(text) is None and key == str(library.get_vocab_size()):
            library.add_tokens([AddedToken(text, special=entry.get("special") is True, normalized=False)])


def _content(value: Any) -> str | None:
    """A token is written as its text, or as an object with its text in it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _named_token(config: Mapping[str, Any], name: str, ids: Mapping[str, TokenId]) -> TokenId | None:
    text = _content(config.get(f"{name}_token"))
    if text is not None and text in ids:
        return ids[text]
    number = config.get(f"{name}_token_id")
    return TokenId(number) if type(number) is int and number in ids.values() else None


def _ends(library: Tokenizer, ids: Mapping[str, TokenId], config: Mapping[str, Any]) -> frozenset[TokenId]:
    """What the files name, and tokens of well-known names."""
    known = set(ids.values())
    ends = {TokenId(token) for token in _as_list(config.get("eos_token_id")) if type(token) is int and token in known}
    named = _named_token(config, "eos", ids)
    ends |= {named} if named is not None else set()
    for token, added in library.get_added_tokens_decoder().items():
        if added.special and added.content in END_TEXTS:
            ends.add(TokenId(token))
    ends |= fill_in_ends(ids)
    return frozenset(ends - lookalike_ends(ids, ends).keys())


def _wants_bos(library: Tokenizer, config: Mapping[str, Any], bos: TokenId | None) -> bool:
    said = config.get("add_bos_token")
    if isinstance(said, bool):
        return said
    return bos is not None and library.encode("a").ids[:1] == [bos]


def _text_end(library: Tokenizer, config: Mapping[str, Any], ids: Mapping[str, TokenId]) -> TokenId | None:
    """What `tokenizer.json` puts there of its own, as transformers 5 does it; and the end of sequence where the settings ask
    for one, as transformers 4 and the classes of some models' own (gte-Qwen2) do it."""
    if config.get("add_eos_token") is True:
        return _named_token(config, "eos", ids)
    bare, whole = (library.encode("a", add_special_tokens=add).ids for add in (False, True))
    end = whole[-1:] if bare and whole[-len(bare) - 1 : -1] == bare else []
    return TokenId(end[0]) if end else None


def _special(library: Tokenizer, pieces: Sequence[bytes]) -> frozenset[TokenId]:
    """Tokens that a reader does not want to see, and numbers that no token has."""
    special = {TokenId(token) for token, added in library.get_added_tokens_decoder().items() if added.special}
    special |= {TokenId(token) for token, piece in enumerate(pieces) if not piece}
    return frozenset(token for token in special if token < len(pieces))


def _pieces(library: Tokenizer, ids: Mapping[str, TokenId], num_rows: int, name: str) -> tuple[bytes, ...]:
    added = {token: entry.content for token, entry in library.get_added_tokens_decoder().items()}
    steps = _decoder_steps(library)
    texts = list(ids)
    if "ByteLevel" in steps:
        spelt = decode_all(texts)
    elif steps & {"Metaspace", "Replace", "ByteFallback"}:
        spelt = [_sentencepiece_piece(text, "ByteFallback" in steps) for text in texts]
    else:
        raise UnsupportedModel(
            f"The tokenizer of {name} is of a kind that publican does not have ({', '.join(steps) or 'none'})."
        )
    pieces = [b""] * (num_rows or max(ids.values(), default=-1) + 1)
    for text, piece in zip(texts, spelt, strict=True):
        if (token := ids[text]) < len(pieces):
            pieces[token] = added[token].encode() if token in added else piece
    return tuple(pieces)


def _decoder_steps(library: Tokenizer) -> set[str]:
    """The kinds of steps by which the library turns tokens into text."""
    if library.decoder is None:
        return set()
    state = json.loads(library.decoder.__getstate__())
    steps: Iterable[Mapping[str, Any]] = state.get("decoders", [state])
    return {str(step.get("type")) for step in steps}


def _sentencepiece_piece(text: str, has_byte_tokens: bool) -> bytes:
    if has_byte_tokens and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        try:
            return bytes([int(text[3:5], 16)])
        except ValueError:
            pass
    return text.replace(SPACE, " ").encode()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
