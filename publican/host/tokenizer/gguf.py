"""Makes the tokenizer of a GGUF file from its metadata. Token for token it is what llama.cpp makes of the same file and text.

One exception: characters newer than llama.cpp's table (Unicode 15.1) may be cut into words otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.host.tokenizer.bpe import RankedBPE
from publican.host.tokenizer.byte_alphabet import decode_all
from publican.host.tokenizer.end_tokens import find_ends
from publican.host.tokenizer.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from publican.host.tokenizer.special import SpecialToken, SpecialTokens
from publican.host.tokenizer.spm import SPACE, SentencePieceBPE
from publican.host.tokenizer.table_tokenizer import Encoder, TableTokenizer, TextRules
from publican.host.tokenizer.token_table import TokenKind, TokenTable, flag, merges_of, read_table, text, token_id
from publican.host.tokenizer.unigram import Characters, Spaces, Unigram
from publican.host.tokenizer.wordpiece import WordPiece

_HIDDEN = (TokenKind.CONTROL, TokenKind.UNKNOWN)
_CHARACTERS = "tokenizer.ggml.precompiled_charsmap"
_OTHER_KINDS = {
    "t5": "T5's",
    "rwkv": "RWKV's",
    "plamo2": "PLaMo 2's",
    "no_vocab": "none at all",
    "none": "none at all",
}


def gguf_tokenizer(metadata: Mapping[str, Any], num_rows: int = 0) -> TableTokenizer:
    """The tokenizer that `metadata` describes; the vocabulary is padded to `num_rows`, the rows of the model's embedding.

    Raises:
        ModelFileError: the metadata contradict themselves.
        UnsupportedModel: a kind of tokenizer that is not here.
    """
    kind = text(metadata, "tokenizer.ggml.model", "no_vocab")
    if kind == "llama":
        return _sentencepiece(metadata, num_rows)
    if kind == "bert":
        return _wordpiece(metadata, num_rows)
    if kind == "t5" and not text(metadata, "general.architecture", "").startswith("t5"):
        return _unigram(metadata, num_rows)
    if kind not in ("gpt2", "gemma4"):
        raise UnsupportedModel(f"The model's tokenizer is {_OTHER_KINDS.get(kind, repr(kind))}, and publican has no such one.")
    pre = "gemma4" if kind == "gemma4" else text(metadata, "tokenizer.ggml.pre", "") or "default"
    if pre not in PRE_TOKENIZERS:
        raise UnsupportedModel(
            f"The model's pre-tokenizer is {pre!r}, and publican does not have it; take the model as a Hugging Face folder."
        )
    return _ranked(metadata, PRE_TOKENIZERS[pre], num_rows)


def _ranked(metadata: Mapping[str, Any], rules: PreTokenizer, num_rows: int) -> TableTokenizer:
    table = _table(metadata, num_rows)
    encoder = RankedBPE(table.ids, merges_of(metadata), rules)
    add_bos = flag(metadata, "tokenizer.ggml.add_bos_token", rules.add_bos)
    if metadata.get("tokenizer.ggml.model") == "gemma4":
        add_bos = True  # its first files said otherwise, wrongly
    text_rules = TextRules(add_bos, escape_spaces=not rules.byte_level)
    return _assemble(metadata, table, encoder.encode, text_rules, num_rows)


def _sentencepiece(metadata: Mapping[str, Any], num_rows: int) -> TableTokenizer:
    table = _table(metadata, num_rows)
    unknown = token_id(metadata, "unknown", table)
    encoder = SentencePieceBPE(table.ids, table.scores, unknown if unknown is not None else TokenId(0))
    rules = TextRules(
        add_bos=flag(metadata, "tokenizer.ggml.add_bos_token", True),
        space_prefix=flag(metadata, "tokenizer.ggml.add_space_prefix", True),
        escape_spaces=True,
    )
    return _assemble(metadata, table, encoder.encode, rules, num_rows)


def _wordpiece(metadata: Mapping[str, Any], num_rows: int) -> TableTokenizer:
    table = _table(metadata, num_rows)
    unknown = token_id(metadata, "unknown", table)
    if unknown is None:
        unknown = table.first_of(["[UNK]"])
    if unknown is None:
        raise ModelFileError(
            "The GGUF file says that it has BERT's tokens, and none stands for unknown words; get another copy."
        )
    encoder = WordPiece(table.ids, unknown)
    return _assemble(metadata, table, encoder.encode, TextRules(add_bos=True), num_rows)


def _unigram(metadata: Mapping[str, Any], num_rows: int) -> TableTokenizer:
    """Of encoders with T5's or XLM-RoBERTa's tokens; T5 itself also writes, which nothing here could run."""
    table = _table(metadata, num_rows)
    unknown = token_id(metadata, "unknown", table)
    characters = metadata.get(_CHARACTERS, ())
    if not isinstance(characters, tuple) or not all(type(byte) is int and -128 <= byte < 256 for byte in characters):
        raise ModelFileError(f"{_CHARACTERS} in the GGUF header must be a list of bytes; get another copy of the model.")
    spaces = Spaces(
        prefix=flag(metadata, "tokenizer.ggml.add_space_prefix", True),
        merge=flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", True),
    )
    table_of_characters = Characters(bytes(byte & 0xFF for byte in characters))
    encoder = Unigram(table, unknown if unknown is not None else TokenId(2), table_of_characters, spaces)
    return _assemble(
        metadata, table, encoder.encode, TextRules(flag(metadata, "tokenizer.ggml.add_bos_token", False)), num_rows
    )


def _assemble(
    metadata: Mapping[str, Any], table: TokenTable, encode: Encoder, rules: TextRules, num_rows: int
) -> TableTokenizer:
    eos, bos = token_id(metadata, "eos", table), token_id(metadata, "bos", table)
    if metadata.get("tokenizer.ggml.model") == "llama":
        eos = eos if eos is not None else _if_there(2, table)
        bos = bos if bos is not None else _if_there(1, table)
    if bos is None and metadata.get("tokenizer.ggml.model") == "bert":
        bos = token_id(metadata, "cls", table)
        bos = bos if bos is not None else table.first_of(["[CLS]"])
    table, ends = find_ends(table, metadata, eos)
    special, plain = _special_tokens(table, metadata)
    hidden = frozenset(TokenId(token) for token, kind in enumerate(table.kinds) if kind in _HIDDEN)
    spelt_in_bytes = not rules.escape_spaces and metadata.get("tokenizer.ggml.model") not in ("bert", "t5")
    pieces = _pieces(table, spelt_in_bytes)
    padding = range(len(pieces), num_rows)  # rows of the embedding that no token has
    vocabulary = Vocabulary((*pieces, *(b"" for _ in padding)), hidden.union(map(TokenId, padding)), ends, bos)
    return TableTokenizer(vocabulary, encode, rules, special, plain)


def _table(metadata: Mapping[str, Any], num_rows: int) -> TokenTable:
    table = read_table(metadata)
    if 0 < num_rows < len(table.texts):
        raise ModelFileError(
            f"The GGUF file has {len(table.texts):,} tokens and a model of only {num_rows:,}; get another copy of the model."
        )
    return table


def _if_there(token: int, table: TokenTable) -> TokenId | None:
    return TokenId(token) if token < len(table.texts) else None


def _pieces(table: TokenTable, spelt_in_bytes: bool) -> list[bytes]:
    """What each token stands for. Special and user-defined tokens are as they are written, others are spelt somehow."""
    if spelt_in_bytes:
        pieces = decode_all(table.texts)
    else:
        pieces = [written.replace(SPACE, " ").encode("utf-8", "surrogateescape") for written in table.texts]
    for token, kind in enumerate(table.kinds):
        if kind == TokenKind.NORMAL:
            continue
        written = table.texts[token]
        if kind == TokenKind.BYTE:
            pieces[token] = _byte(written)
        elif kind in (TokenKind.UNUSED, TokenKind.UNDEFINED):
            pieces[token] = b""
        else:
            pieces[token] = written.encode("utf-8", "surrogateescape")
    return pieces


def _byte(written: str) -> bytes:
    """The byte of a token like ``<0x0A>``."""
    try:
        return bytes([int(written[3:5], 16)])
    except ValueError:
        return b""


def _special_tokens(table: TokenTable, metadata: Mapping[str, Any]) -> tuple[SpecialTokens, SpecialTokens]:
    """The tokens to look for in text: all of them, and those that are looked for even where special ones are just text."""
    name = metadata.get("general.name")
    is_phi3 = isinstance(name, str) and any(part in name.lower() for part in ("phi-3", "phi3"))
    found: dict[TokenKind, list[SpecialToken]] = {kind: [] for kind in (*_HIDDEN, TokenKind.USER_DEFINED)}
    for token, kind in enumerate(table.kinds):
        if kind in found:
            written = table.texts[token]
            strips_right = is_phi3 and written not in ("<unk>", "<s>", "<|endoftext|>")
            found[kind].append(SpecialToken(written, TokenId(token), strips_right))
    plain = found[TokenKind.USER_DEFINED]
    return SpecialTokens([token for tokens in found.values() for token in tokens]), SpecialTokens(plain)
