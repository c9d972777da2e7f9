"""How a model's files say its vectors are made, and what becomes of texts that are too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from publican.core.errors import InvalidRequest, PromptTooLong
from publican.core.ids import TokenId
from publican.core.model import Checkpoint
from publican.host.vectors import VectorStyle, vector_style

END = TokenId(9)


def gguf(**metadata: Any) -> VectorStyle:
    return vector_style(Checkpoint("m", Path("m.gguf"), "gguf", None, {}, {"general.architecture": "qwen3", **metadata}), False)


@pytest.mark.parametrize(("said", "pooling"), [(1, "mean"), (2, "cls"), (3, "last"), (0, "mean"), (77, "mean"), ("x", "mean")])
def test_a_gguf_says_how(said: object, pooling: str) -> None:
    style = gguf(**{"qwen3.pooling_type": said})
    assert (style.pooling, style.meant) == (pooling, said in (1, 2, 3))
    assert not style.only


def test_the_token_behind_a_text() -> None:
    eos = {"tokenizer.ggml.eos_token_id": 9}
    assert gguf(**eos).end is None
    assert gguf(**eos, **{"tokenizer.ggml.add_eos_token": True}).end == END
    unigram = {"tokenizer.ggml.model": "t5", **eos}
    assert gguf(**unigram).end == END
    assert gguf(**unigram, **{"tokenizer.ggml.add_eos_token": False}).end is None
    bert = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": ("[PAD]", "[SEP]")}
    assert gguf(**bert).end == 1
    assert gguf(**bert, **{"tokenizer.ggml.seperator_token_id": 9}).end == END


@pytest.mark.parametrize(
    ("text", "pooling"),
    [
        (json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}), "cls"),
        (json.dumps({"pooling_mode_lasttoken": True}), "last"),
        (json.dumps({"pooling_mode_mean_tokens": True}), "mean"),
        ("[" * 90_000, "mean"),
        ('"no"', "mean"),
        (None, "mean"),
    ],
    ids=["cls", "last", "mean", "deep", "a text", "none"],
)
def test_a_folder_says_how(tmp_path: Path, text: str | None, pooling: str) -> None:
    if text is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(text)
    style = vector_style(Checkpoint("m", tmp_path, "safetensors", None, {}), False)
    assert (style.pooling, style.meant) == (pooling, text is not None and text.startswith("{"))


def test_too_long_a_text_is_cut_only_if_it_may_be_and_keeps_its_end() -> None:
    text = tuple(TokenId(i) for i in range(6))
    style = VectorStyle(end=END)
    assert style.fitting(text, 7, False) == (*text, END)
    assert style.fitting((*text, END), 7, False) == (*text, END)
    assert style.fitting(text, 4, True) == (0, 1, 2, END)
    assert VectorStyle().fitting(text, 4, True) == (0, 1, 2, 3)
    assert style.fitting((), 4, False) == (END,)
    with pytest.raises(PromptTooLong):
        style.fitting(text, 6, False)
    with pytest.raises(InvalidRequest):
        VectorStyle().fitting((), 4, False)
