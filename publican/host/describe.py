"""A model on disk as `core.model_info.ModelInfo`. Pure but for the sizes it is given; called on threads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from publican.core.ids import TokenId
from publican.core.model import Checkpoint
from publican.core.model_info import InfillTokens, ModelInfo
from publican.core.tokenizer import Vocabulary
from publican.host.templates import ChatTemplates
from publican.store.catalogue import StoredModel

_LONGEST_VALUE = 200
_INFILL_KEYS = (
    ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"),
    ("prefix_token_id", "suffix_token_id", "middle_token_id"),
)
_INFILL_NAMES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""What the families call the tokens around a hole: StarCoder's and Qwen's, Granite's, DeepSeek's, CodeLlama's."""


def describe(
    stored: StoredModel,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    templates: ChatTemplates,
    sampling: Mapping[str, Any] = MappingProxyType({}),
    for_vectors: bool = False,
) -> ModelInfo:
    """Everything about it that does not need it loaded. `sampling` and `for_vectors`: see `ModelInfo`."""
    spec = checkpoint.spec
    key = "general.architecture" if checkpoint.format == "gguf" else "model_type"
    return ModelInfo(
        name=stored.name,
        format=checkpoint.format,
        architecture=str(checkpoint.metadata.get(key, "")) or (spec.architecture if spec else ""),
        num_bytes=stored.num_bytes,
        num_parameters=_num_parameters(checkpoint),
        modified_s=stored.modified_s,
        quantization=_quantization(checkpoint),
        trained_context_len=spec.context_len if spec else 0,
        hidden_size=spec.hidden_size if spec else 0,
        vocab_size=vocabulary.size,
        chat_template=templates.source,
        templates=templates.names,
        bos=templates.bos,
        eos=templates.eos,
        sampling=dict(sampling),
        infill=_infill(checkpoint.metadata, vocabulary),
        for_vectors=for_vectors,
        metadata=_single_values(checkpoint.metadata),
    )


def _num_parameters(checkpoint: Checkpoint) -> int:
    """GPTQ and AWQ pack several numbers into each of a tensor's."""
    bits = checkpoint.quantization.get("bits") or checkpoint.quantization.get("w_bit")
    packed = 32 // bits if isinstance(bits, int) and 0 < bits <= 32 else 1
    return sum(
        math.prod(tensor.shape) * (packed if name.endswith(".qweight") else 1) for name, tensor in checkpoint.tensors.items()
    )


def _quantization(checkpoint: Checkpoint) -> str:
    """The quantiser's name and bits, or the type that most bytes have."""
    method, bits = checkpoint.quantization.get("quant_method"), checkpoint.quantization.get("bits")
    if isinstance(method, str):
        return f"{method.upper()} {bits}-bit" if isinstance(bits, int | float) else method.upper()
    sizes: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        sizes[tensor.dtype] += tensor.num_bytes
    return sizes.most_common(1)[0][0] if sizes else ""


def _infill(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> InfillTokens | None:
    for keys in _INFILL_KEYS:
        ids = [metadata.get(f"tokenizer.ggml.{key}") for key in keys]
        if all(type(id) is int and 0 <= id < vocabulary.size for id in ids):
            return InfillTokens(*map(TokenId, ids))  # type: ignore[arg-type]
    wanted = {name.encode() for names in _INFILL_NAMES for name in names}
    here = {piece: TokenId(id) for id, piece in enumerate(vocabulary.pieces) if piece in wanted}
    for names in _INFILL_NAMES:
        if all(name.encode() in here for name in names):
            return InfillTokens(*(here[name.encode()] for name in names))
    return None


def _single_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Without lists (a vocabulary), long texts (a template, a licence), and numbers that JSON cannot say."""
    return {
        name: value
        for name, value in metadata.items()
        if isinstance(value, bool | int)
        or (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, str) and len(value) <= _LONGEST_VALUE)
    }
