"""How each engine keeps a model: bytes of a weight, of a token's keys and values, of the memory that a step works in.

Arithmetic over shapes, and a few measured constants, each with where it comes from. No device is known here, and nothing is
looked at or loaded. Called by `hardware.plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName, KVType
from publican.core.executor import num_windowed_pages
from publican.core.model import ModelSpec
from publican.hardware.sizes import MIB
from publican.hardware.weights import Weight

_KV_BITS: Mapping[KVType, float] = {"f32": 32, "f16": 16, "bf16": 16, "q8": 8.5, "q4": 4.5}
"""Of libllama's types; in q8 and q4 a float16 scale for 32 numbers."""
_STEP_BYTES: Mapping[EngineName, int] = {"cuda": 2, "plain": 4}
"""Of a scale of q8, and of a step of q4."""
_WITH_WINDOWS = ("cuda", "cpu", "plain")
"""Engines that give back what lies behind a layer's window; libllama keeps everything."""
_LANES = 16
_PAGE_LEN = 16
_LLAMA_CELLS = 256

_WORKER_BYTES = 54 * MIB
"""A worker with the fake model: Python, NumPy, the engine (measured, Linux, 2026-11)."""
_BYTES_PER_TOKEN = 120
"""Of vocabulary, in every worker: a bytes object and its places in a tuple and a table (measured with 49k and 262k)."""
_LLAMA_BYTES, _LLAMA_BYTES_PER_TOKEN = 12 * MIB, 300
"""libllama's code and its own vocabulary (measured with the same two)."""
_TORCH_BYTES = 1024 * MIB
"""Of main memory, by a process with torch and a CUDA context (an estimate; nobody measured it here)."""
_CONTEXT_BYTES = 309 * MIB
"""Of a GPU, by a CUDA context (measured by users of ollama, its issue 6160)."""
_GRAPH_BYTES = 50 * MIB
"""Of a GPU, by CUDA graphs of small batches; vLLM's users report 50 to 300 MiB."""
_REBUILT_BITS = 16


@dataclass(frozen=True, slots=True)
class Load:
    """What a model is loaded for.

    Attributes:
        context_len: tokens of one conversation; `num_users` have room for that side by side.
        kv_type: one of the engine's `core.cache_types.kv_types`.
        chunk_len: tokens in one step at most; num_logits: rows of logits in one.
        is_exact: the engine's slower, more exact arithmetic.
    """

    context_len: int
    num_users: int = 1
    kv_type: KVType = "f16"
    chunk_len: int = 512
    num_logits: int = 64
    is_exact: bool = False

    @property
    def num_tokens(self) -> int:
        return self.context_len * self.num_users


@dataclass(frozen=True, slots=True)
class Needs:
    """What an engine needs for a model, cut where it can be cut.

    Attributes:
        layer_bytes: weights of each layer; layer_kv_bytes: keys and values of all tokens, in each.
        embedding_bytes, output_bytes: of the two ends; an embedding that is the output too counts as the output.
        scratch_bytes: on each device that computes layers, while it does.
        logits_bytes: of logits, or of an encoder's states, on the device that computes those.
        gpu_bytes: of a GPU for being used at all (context, graphs).
        host_bytes: of main memory by the process itself, tables for rotation with it.
        loading_bytes: of main memory, for a moment, while the largest matrix is brought into the engine's form.
    """

    engine: EngineName
    layer_bytes: tuple[int, ...]
    layer_kv_bytes: tuple[int, ...]
    embedding_bytes: int
    output_bytes: int
    scratch_bytes: int
    logits_bytes: int
    gpu_bytes: int
    host_bytes: int
    loading_bytes: int

    @property
    def weight_bytes(self) -> int:
        return sum(self.layer_bytes) + self.embedding_bytes + self.output_bytes

    @property
    def kv_bytes(self) -> int:
        return sum(self.layer_kv_bytes)


def needs(engine: EngineName, spec: ModelSpec, weights: Iterable[Weight], load: Load, is_encoder: bool = False) -> Needs:
    """What `engine` needs to run a model of shape `spec` with those weights, for `load`.

    An encoder keeps nothing of what it has read. A text goes into one step, whole, and gives a state for each of its tokens.
    """
    weights = tuple(weights)
    if is_encoder:
        load = replace(load, chunk_len=load.context_len)
    kept = dict.fromkeys(("embedding", "layer", "output", "rest"), 0)
    layers = [0] * max(1, spec.num_layers)
    for weight in weights:
        size = kept_bytes(engine, weight, load.is_exact)
        kept[weight.role] += size
        if weight.role == "layer":  # some files have more layers than the network uses: they are loaded with the last
            layers[min(weight.layer, len(layers) - 1)] += size
    is_tied = not kept["output"]
    if engine == "cpu" and any(weight.role == "embedding" and weight.is_dense for weight in weights) and not is_tied:
        kept["embedding"] = 0  # its rows are read where they lie in the file, a few in a step
    return Needs(
        engine=engine,
        layer_bytes=tuple(layers),
        layer_kv_bytes=(0,) * len(layers) if is_encoder else _layer_kv_bytes(engine, spec, load, len(layers)),
        embedding_bytes=0 if is_tied else kept["embedding"],
        output_bytes=kept["rest"] + (kept["embedding"] if is_tied else kept["output"]),
        scratch_bytes=_scratch_bytes(engine, spec, load),
        logits_bytes=4 * (load.context_len * spec.hidden_size if is_encoder else load.num_logits * spec.vocab_size),
        gpu_bytes=_CONTEXT_BYTES + _GRAPH_BYTES,
        host_bytes=_host_bytes(engine, spec, load),
        loading_bytes=max((_unpacked_bytes(engine, weight) for weight in weights), default=0),
    )


def kept_bytes(engine: EngineName, weight: Weight, is_exact: bool = False) -> int:
    """What is left of one weight when it is loaded."""
    if engine == "llama":
        return weight.num_bytes
    if engine == "plain" or weight.is_vector:
        return 4 * weight.num_numbers
    if weight.is_router:
        return 4 * (_up(weight.num_outputs, _LANES) if engine == "cpu" else weight.num_outputs) * weight.num_inputs
    if weight.is_rebuilt:
        weight = replace(weight, bits=_REBUILT_BITS, is_dense=True)
    return _panel_bytes(weight, is_exact) if engine == "cpu" else _word_bytes(weight, is_exact)


def _word_bytes(weight: Weight, is_exact: bool) -> int:
    """Codes in 32-bit words, cut into chunks of 16 words (drawn in `executors/native/cuda/packing.py`); plain numbers as the
    activations are."""
    if weight.is_dense:
        return weight.num_numbers * (4 if is_exact else 2)
    low_bits = 2 if weight.bits < 4 else 4 if weight.bits < 8 else 8
    width = _up(weight.num_inputs, 16 * 32 // low_bits)
    num_groups = -(-weight.num_inputs // weight.group_len) if weight.group_len else 0
    return weight.num_outputs * (int(width * weight.bits) // 8 + 2 * (4 if is_exact else 2) * num_groups)


def _panel_bytes(weight: Weight, is_exact: bool) -> int:
    """Sixteen outputs side by side (drawn in `executors/native/cpu/src/tiles.h`): 4 or 8 bits a code, a scale and an offset."""
    if weight.is_dense:
        width = _up(weight.num_inputs, 32) if weight.bits <= 16 else weight.num_inputs
        return int(_up(weight.num_outputs, _LANES) * width * weight.bits) // 8
    group_len = min(weight.group_len or weight.num_inputs, weight.num_inputs)
    num_groups = -(-weight.num_inputs // group_len)
    block_len = 32 if num_groups == 1 or group_len % 32 == 0 else 16
    width = num_groups * _up(group_len, block_len)
    scale_bytes = 4 if is_exact and not weight.has_half_scales else 2
    row_bytes = width * (4 if weight.bits <= 4 else 8) // 8 + 2 * scale_bytes * num_groups
    return _up(weight.num_outputs, _LANES) * row_bytes


def kv_bytes_per_layer(engine: EngineName, spec: ModelSpec, kv_type: KVType) -> int:
    """Keys and values of one token in one layer."""
    heads, dim = 2 * spec.num_kv_heads, spec.head_dim
    if engine == "llama" or (engine != "cpu" and kv_type not in ("q8", "q4")):
        return int(heads * dim * _KV_BITS[kv_type]) // 8
    if engine == "cpu":
        # q8 has a float32 scale per token and head, q4 a bfloat16 step for 32 numbers
        one = {"q8": _up(dim, 16) + 4, "q4": _up(dim, 32) // 2 + _up(dim, 32) // 16}.get(kv_type, 2 * _up(dim, 16))
    elif kv_type == "q8":
        one = dim + _STEP_BYTES[engine]
    else:
        one = -(-dim // 2) + _STEP_BYTES[engine] * -(-dim // 32)
    return heads * one


def _layer_kv_bytes(engine: EngineName, spec: ModelSpec, load: Load, num_layers: int) -> tuple[int, ...]:
    """Keys and values of all tokens, in each layer. Those with a window keep what a conversation can look back at, its slack,
    and a step's tokens, where the engine gives back the rest."""
    one, cells = kv_bytes_per_layer(engine, spec, load.kv_type), _num_cells(engine, load)
    has_window = 0 < spec.sliding_window < load.context_len and engine in _WITH_WINDOWS
    num_pages = num_windowed_pages(spec.sliding_window, load.context_len, load.chunk_len, _PAGE_LEN)
    in_window = load.num_users * num_pages * _PAGE_LEN
    windowed = spec.windowed or (True,) * num_layers
    return tuple(one * (in_window if has_window and windowed[min(i, len(windowed) - 1)] else cells) for i in range(num_layers))


def _num_cells(engine: EngineName, load: Load) -> int:
    return _up(load.num_tokens, _LLAMA_CELLS if engine == "llama" else _PAGE_LEN)


def _scratch_bytes(engine: EngineName, spec: ModelSpec, load: Load) -> int:
    """What a step of `chunk_len` tokens is worked out in."""
    return _dense_scratch_bytes(engine, spec, load) + _mixture_scratch_bytes(engine, spec, load)


def _mixture_scratch_bytes(engine: EngineName, spec: ModelSpec, load: Load) -> int:
    """What goes into each expert that a token takes, what is inside, and what comes out."""
    if spec.mixture is None:
        return 0
    hidden, ffn = spec.hidden_size, spec.mixture.ffn_size
    rows = load.chunk_len * spec.mixture.num_experts_per_token
    match engine:
        case "cuda":  # 16 bits, gate and up apart; what comes out in float32
            return rows * (2 * (hidden + 3 * ffn) + 4 * hidden)
        case "cpu":  # float32, and the forms that matrices of codes read
            return int(rows * (4 * (hidden + ffn) + 1.6 * (hidden + ffn)))
        case "plain" | "llama":
            return rows * 4 * (hidden + 3 * ffn)


def _dense_scratch_bytes(engine: EngineName, spec: ModelSpec, load: Load) -> int:
    hidden, ffn = spec.hidden_size, spec.ffn_size
    q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    match engine:
        case "cuda":  # 16 bits, but for the residual stream; tables for rotation
            return load.chunk_len * 2 * (4 * hidden + 2 * (q + kv) + ffn) + _table_bytes(spec, load)
        case "cpu":  # float32, and what matrices of codes read: int8 with scales and sums, 1.6 bytes a number
            floats = 3 * hidden + 2 * (q + kv) + ffn
            return int(load.chunk_len * (4 * floats + 1.6 * (hidden + q + ffn)))
        case "plain":  # float32, gate and up apart; scores of all heads, thrice over
            scores = 3 * spec.num_heads * min(load.context_len, load.num_tokens)
            return 4 * load.chunk_len * (3 * hidden + 2 * (q + kv) + 3 * ffn + scores)
        case "llama":  # float32; flash attention keeps no scores
            return 4 * load.chunk_len * (3 * hidden + 2 * ffn + 2 * (q + kv))


def _unpacked_bytes(engine: EngineName, weight: Weight) -> int:
    """Codes a byte each with float32 scales, before they are packed again; the file itself is only mapped. One expert's at a
    time."""
    num_numbers = weight.num_numbers // weight.num_experts
    match engine:
        case "llama":
            return 0
        case "plain":
            return 2 * num_numbers
        case "cuda" if weight.is_dense:
            return weight.num_bytes // weight.num_experts
        case _:
            return 0 if weight.is_dense else int(1.3 * num_numbers)


def _host_bytes(engine: EngineName, spec: ModelSpec, load: Load) -> int:
    vocabulary = _BYTES_PER_TOKEN * spec.vocab_size
    match engine:
        case "llama":
            return _WORKER_BYTES + vocabulary + _LLAMA_BYTES + _LLAMA_BYTES_PER_TOKEN * spec.vocab_size
        case "cuda":
            return _WORKER_BYTES + vocabulary + _TORCH_BYTES
        case _:
            return _WORKER_BYTES + vocabulary + _table_bytes(spec, load)


def shared_bytes(engine: EngineName, spec: ModelSpec) -> int:
    """Of `Needs.host_bytes`, what a second model in the same process does not need again."""
    return _WORKER_BYTES + _BYTES_PER_TOKEN * spec.vocab_size + (_TORCH_BYTES if engine == "cuda" else 0)


def _table_bytes(spec: ModelSpec, load: Load) -> int:
    """Cosines and sines, float32, for every position of one context."""
    return 4 * spec.rope.dim * load.context_len * (1 if spec.local_rope is None else 2)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
