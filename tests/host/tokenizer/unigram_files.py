"""A GGUF vocabulary of XLM-RoBERTa's kind out of a SentencePiece model's parts, as llama.cpp's converter writes it."""

from __future__ import annotations

from pathlib import Path

import gguf


def write_vocabulary(
    path: Path, pieces: list[tuple[str, float, int]], characters: bytes, architecture: str = "bert", **flags: bool
) -> Path:
    """`pieces` are text, score and kind, with <s>, <pad>, </s> and <unk> first."""
    writer = gguf.GGUFWriter(path, architecture)
    add_vocabulary(writer, pieces, characters, **flags)
    for end in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        end()
    return path


def add_vocabulary(writer: gguf.GGUFWriter, pieces: list[tuple[str, float, int]], characters: bytes, **flags: bool) -> None:
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])
    writer.add_add_space_prefix(flags.get("prefix", True))
    writer.add_remove_extra_whitespaces(flags.get("merge", True))
    if characters:
        writer.add_precompiled_charsmap(characters)
    for name, token in (("bos", 0), ("pad", 1), ("eos", 2), ("sep", 2), ("unk", 3), ("mask", len(pieces) - 1)):
        getattr(writer, f"add_{name}_token_id")(token)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
