"""Small Hugging Face folders with tokenizers of the two usual kinds, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.store.safetensors_bytes import build

TEXT = ["the quick brown fox jumps over the lazy dog", "Größe and 東京 and 😀 1234 def f(x): return x"] * 50


def byte_level() -> Tokenizer:
    """Like Llama 3 and Qwen: bytes, words by a pattern, BOS by a template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"'s|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return tokenizer


def sentencepiece() -> Tokenizer:
    """Like Llama 2 and Gemma: ▁ for a space, byte tokens for what is not there."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, show_progress=False, special_tokens=["<unk>", "<s>", "</s>", *bytes_]
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    data = json.loads(tokenizer.to_str())  # the trainer makes special tokens of the bytes, which they are not
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(data))


def write_folder(
    folder: Path, tokenizer_config: dict[str, Any], tokenizer: Tokenizer | None = None, num_rows: int = 0, **files: Any
) -> Path:
    """A folder that `open_checkpoint` opens; the embedding has as many rows as there are tokens, unless told otherwise."""
    tokenizer = tokenizer or byte_level()
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = num_rows or tokenizer.get_vocab_size()
    tensors = {"model.embed_tokens.weight": ("F16", [rows, 2], bytes(4 * rows))}
    (folder / "model.safetensors").write_bytes(build(tensors))
    for name, content in {"config": {"model_type": "made_up"}, "tokenizer_config": tokenizer_config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
