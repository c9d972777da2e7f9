"""Tokenizers of Hugging Face folders: as transformers tokenises, with pieces that join to the text."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from tokenizers import AddedToken, Tokenizer, decoders, models, processors

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.host.tokenizer import load_tokenizer, text_end
from publican.host.tokenizer.folder import FolderTokenizer, folder_tokenizer
from publican.store.checkpoint import open_checkpoint
from tests.host.tokenizer.corpus import TEXTS, any_text, scrambled
from tests.host.tokenizer.folders import byte_level, sentencepiece, write_folder

KINDS = {"byte-level": byte_level, "sentencepiece": sentencepiece}
CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp(request.param), CONFIG, KINDS[request.param]())


@pytest.fixture(scope="module")
def ours(folder: Path) -> FolderTokenizer:
    tokenizer = load_tokenizer(open_checkpoint(folder))
    assert isinstance(tokenizer, FolderTokenizer)
    return tokenizer


def test_ids_are_those_of_transformers(folder: Path, ours: FolderTokenizer) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in [*TEXTS, *scrambled(200, seed=3)]:
        assert ours.encode(text, add_bos=False) == theirs.encode(text, add_special_tokens=False)
        has_bos = text.startswith("<s>")
        assert ours.encode(text) == (theirs.encode(text)[1:] if has_bos else theirs.encode(text)) or not ours._add_bos
        assert ours.encode(text, add_bos=False, parse_special=False) == theirs.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )


@settings(max_examples=200, deadline=None)
@given(any_text)
def test_pieces_join_to_the_text(ours: FolderTokenizer, text: str) -> None:
    tokens = ours.encode(text, add_bos=False, parse_special=False)
    decoded = ours.decode(tokens, skip_special=False)
    if ours.vocabulary.pieces[0] == b"<unk>":  # the SentencePiece kind puts a space first, and reads ▁ as one
        text = (" " if text else "") + text.replace("▁", " ")
    assert decoded == text


def test_what_is_special(ours: FolderTokenizer, folder: Path) -> None:
    vocabulary = ours.vocabulary
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert vocabulary.size == library.get_vocab_size()
    assert vocabulary.bos == library.token_to_id("<s>")
    ends = {"</s>", "<|im_end|>"}
    assert vocabulary.end == {library.token_to_id(end) for end in ends} - {None}
    for token in vocabulary.special:
        assert vocabulary.pieces[token] == library.id_to_token(token).encode()
    if (tool := library.token_to_id("<tool>")) is not None:
        assert tool not in vocabulary.special
        assert ours.encode("<tool>", add_bos=False, parse_special=False) == [tool]
    assert ours.decode([vocabulary.bos, vocabulary.bos]) == ""


@pytest.mark.parametrize(
    ("config", "files", "wanted", "ends"),
    [
        ({}, {}, False, {"<|im_end|>", "</s>"}),
        ({"bos_token": "<s>"}, {}, True, {"<|im_end|>", "</s>"}),
        ({"bos_token": {"content": "<s>"}, "add_bos_token": False}, {}, False, {"<|im_end|>", "</s>"}),
        ({"bos_token": "<|im_start|>", "add_bos_token": True}, {}, True, {"<|im_end|>", "</s>"}),
        ({"eos_token": "a"}, {}, False, {"<|im_end|>", "</s>", "a"}),
        ({}, {"generation_config": {"eos_token_id": [0, 1]}}, False, {"<|im_end|>", "</s>", "!", '"'}),
        (
            {},
            {"generation_config": {"eos_token_id": 0}, "config": {"eos_token_id": 1}},
            False,
            {"<|im_end|>", "</s>", "!", '"'},
        ),
        ({}, {"special_tokens_map": {"bos_token": "<s>", "eos_token": "b"}}, True, {"<|im_end|>", "</s>", "b"}),
        ({"eos_token": None}, {"generation_config": {"eos_token_id": "x"}}, False, {"<|im_end|>", "</s>"}),
        ({}, {"generation_config": {"eos_token_id": [10**9, -1, None]}}, False, {"<|im_end|>", "</s>"}),
    ],
)
def test_what_the_small_files_say(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], wanted: bool, ends: set[str]
) -> None:
    tokenizer = folder_tokenizer(write_folder(tmp_path / "m", config, **files))
    assert {tokenizer.vocabulary.pieces[token].decode() for token in tokenizer.vocabulary.end} == ends
    first = tokenizer.encode("the")[0]
    assert (first == tokenizer.vocabulary.bos) == wanted


def test_what_ends_the_filling_of_a_hole(tmp_path: Path) -> None:
    for marks, expected in (
        (["<|fim_middle|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>"], {"<|fim_pad|>", "<|file_sep|>", "<|repo_name|>"}),
        (["<|fim_pad|>", "<|file_sep|>"], set()),
    ):
        library = byte_level()
        library.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
        tokenizer = folder_tokenizer(write_folder(tmp_path / str(len(marks)), {}, library))
        ends = {tokenizer.vocabulary.pieces[token].decode() for token in tokenizer.vocabulary.end}
        assert ends == {"<|im_end|>", "</s>", *expected}


def test_tokens_that_only_the_config_knows(tmp_path: Path) -> None:
    size = byte_level().get_vocab_size()
    added = {str(size): {"content": "<new>", "special": True}, "7": {"content": "<elsewhere>"}, "x": {}, "-1": 5}
    tokenizer = folder_tokenizer(write_folder(tmp_path / "m", {"added_tokens_decoder": added}))
    assert tokenizer.encode("<new>") == [size]
    assert size in tokenizer.vocabulary.special
    assert len(tokenizer.encode("<elsewhere>")) > 1


def test_more_rows_than_tokens_and_more_tokens_than_rows(tmp_path: Path) -> None:
    size = byte_level().get_vocab_size()
    wide = load_tokenizer(open_checkpoint(write_folder(tmp_path / "wide", {}, num_rows=size + 8)))
    assert wide.vocabulary.size == size + 8
    assert set(range(size, size + 8)) <= wide.vocabulary.special
    narrow = load_tokenizer(open_checkpoint(write_folder(tmp_path / "narrow", {"eos_token": "</s>"}, num_rows=size - 1)))
    assert narrow.vocabulary.size == size - 1
    assert narrow.encode("the<tool>fox") == narrow.encode("the") + narrow.encode("fox")
    assert all(token < size - 1 for token in narrow.vocabulary.special | narrow.vocabulary.end)


def test_any_thread_may_call(ours: FolderTokenizer) -> None:
    text = "the quick brown fox <s> " * 200
    expected = [ours.encode(text, parse_special=special) for special in (True, False)]
    failures: list[object] = []

    def run(special: bool) -> None:
        for _ in range(20):
            if ours.encode(text, parse_special=special) != expected[not special]:
                failures.append(special)

    threads = [threading.Thread(target=run, args=(bool(number % 2),), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_a_missing_or_broken_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", {})
    for content in ["", "{}", "[1]", '{"model": {"type": "Nothing"}}', "\x00", "[" * 10_000]:
        (folder / "tokenizer.json").write_text(content)
        with pytest.raises(ModelFileError, match=r"tokenizer\.json of m"):
            folder_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"no tokenizer\.json"):
        folder_tokenizer(folder)
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelFileError, match="larger than"):
        folder_tokenizer(folder)


def test_a_broken_config(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", {})
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelFileError, match="not valid JSON"):
        folder_tokenizer(folder)


def test_a_kind_that_has_no_pieces(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(UnsupportedModel, match="WordPiece"):
        folder_tokenizer(write_folder(tmp_path / "m", {}, tokenizer))


def test_settings_for_training_are_off(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    folder = write_folder(tmp_path / "m", {}, tokenizer)
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"] is not None
    assert len(folder_tokenizer(folder).encode("the quick brown fox jumps over it")) > 5
    assert len(folder_tokenizer(folder).encode("a")) == 1


@pytest.mark.parametrize(
    ("single", "config"),
    [
        ("$A </s>", {}),
        ("<s> $A </s>", {"bos_token": "<s>"}),
        ("<s> $A", {"bos_token": "<s>"}),
        ("", {"add_eos_token": False}),
        ("$A </s>", {"add_eos_token": False}),
        ("$A </s> </s>", {}),
    ],
)
def test_what_stands_behind_a_whole_text(tmp_path: Path, single: str, config: dict[str, Any]) -> None:
    library = byte_level()
    names = [(name, library.token_to_id(name)) for name in ("<s>", "</s>")]
    library.post_processor = processors.TemplateProcessing(single=single, special_tokens=names) if single else None
    folder = write_folder(tmp_path / "m", {**CONFIG, "bos_token": None, **config}, library)
    ours = load_tokenizer(open_checkpoint(folder))
    theirs = transformers.AutoTokenizer.from_pretrained(folder).encode("the")
    end = text_end(ours)
    if single.count("</s>") == 2:
        assert end is None, "two are not understood, and half of them would be wrong"
    else:
        assert [*ours.encode("the"), *([] if end is None else [end])] == theirs


def test_settings_that_want_an_end_are_heard(tmp_path: Path) -> None:
    """transformers 5 hears them only of a model's own class, which it would run."""
    ours = load_tokenizer(open_checkpoint(write_folder(tmp_path / "m", {**CONFIG, "add_eos_token": True})))
    end = text_end(ours)
    assert end is not None
    assert ours.vocabulary.pieces[end] == b"</s>"
