"""`LlamaConfig` in libllama's own words: the fields of its two parameter structs. Pure; no library is called."""

from __future__ import annotations

from typing import Any

from publican.core.errors import UnsupportedModel
from publican.core.model import Rope
from publican.executors.llama.config import LlamaConfig

_GGML_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8": 8, "q4": 2, "auto": 1}
_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}
_FLASH_ATTENTION = {None: -1, False: 0, True: 1}
_LOAD_MODES = {(True, False): -1, (False, False): 0, (False, True): 2, (True, True): 3}  # (mmap, mlock); -1 maps where it can
_NO_POOLING = 0
"""Every token's own state: the engine pools, which it must where a text is read in pieces."""
_LINEAR, _YARN, _NO_SCALING = 1, 2, 0


def model_parameters(config: LlamaConfig) -> dict[str, Any]:
    """Fields of ``llama_model_params``, but for pointers."""
    return {
        "n_gpu_layers": config.gpu_layers,
        "split_mode": _SPLIT_MODES[config.split],
        "main_gpu": config.main_gpu,
        "load_mode": _LOAD_MODES[config.mmap, config.mlock],
    }


def context_parameters(config: LlamaConfig, num_cells: int, num_sequences: int, num_threads: int) -> dict[str, Any]:
    """Fields of ``llama_context_params``.

    One cache for all sequences lets them share cells, and computes a ragged batch in one piece. Outputs beyond
    `n_outputs_max`, or fewer of them than sequences, abort the process.

    Raises:
        UnsupportedModel: a rope scaling that libllama cannot be given from outside.
    """
    return {
        "n_ctx": num_cells,
        "n_batch": config.max_batch_tokens,
        "n_ubatch": min(config.micro_batch_tokens, config.max_batch_tokens),
        "n_seq_max": num_sequences,
        "n_outputs_max": max(config.max_logits, num_sequences),
        "n_threads": num_threads,
        "n_threads_batch": num_threads,
        "flash_attn_type": _FLASH_ATTENTION[config.flash_attention],
        "type_k": _GGML_TYPES[config.kv_dtype],
        "type_v": _GGML_TYPES[config.kv_dtype],
        "pooling_type": _NO_POOLING,
        "offload_kqv": config.kv_on_gpu,
        "kv_unified": True,
        "swa_full": True,
        **(rope_parameters(config.rope) if config.rope is not None else {}),
    }


def encoder_parameters(context_len: int, num_sequences: int, num_threads: int) -> dict[str, Any]:
    """The same for a model that reads whole texts: each must fit into one batch, and all its tokens give states."""
    return {
        "n_ctx": context_len,
        "n_batch": context_len,
        "n_ubatch": context_len,
        "n_seq_max": num_sequences,
        "n_outputs_max": max(context_len, num_sequences),
        "n_threads": num_threads,
        "n_threads_batch": num_threads,
        "pooling_type": _NO_POOLING,
        "embeddings": True,
        "kv_unified": True,
    }


def rope_parameters(rope: Rope) -> dict[str, Any]:
    """The fields of ``llama_context_params`` that make libllama rotate as `rope` says.

    NTK is a larger theta. YaRN's attention factor is libllama's own: it computes the paper's and takes no other.
    """
    scaling = rope.scaling
    match scaling.kind:
        case "none":
            return {"rope_freq_base": rope.theta, "rope_scaling_type": _NO_SCALING, "rope_freq_scale": 1.0}
        case "linear":
            return {"rope_freq_base": rope.theta, "rope_scaling_type": _LINEAR, "rope_freq_scale": 1 / scaling.factor}
        case "ntk":
            theta = rope.theta * scaling.alpha ** (rope.dim / (rope.dim - 2))
            return {"rope_freq_base": theta, "rope_scaling_type": _NO_SCALING, "rope_freq_scale": 1.0}
        case "yarn" if scaling.attention_factor is None:
            return {
                "rope_freq_base": rope.theta,
                "rope_scaling_type": _YARN,
                "rope_freq_scale": 1 / scaling.factor,
                "yarn_orig_ctx": scaling.original_context_len,
                "yarn_ext_factor": 1.0,
                "yarn_beta_fast": scaling.beta_fast,
                "yarn_beta_slow": scaling.beta_slow,
            }
    raise UnsupportedModel(
        f"libllama cannot be told to scale rope by {scaling.kind!r} this way; use linear, ntk or plain yarn, or the file's own."
    )
