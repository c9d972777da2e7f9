"""The structures of `src/records.h`, field for field and in its order. `check_sizes` compares the two at load."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

ABI = 2
PAD = 32
LANES = 16
MAX_HEAD_DIM = 256
MAX_TOP = 4096

CODES4, CODES8, BF16, F16, F32 = range(5)
INT8, HALVES = range(2)
EMBED, NORM, CONVERT, ADD, STORE_KV, LINEAR, GATED, ATTEND, FINAL_NORM = range(9)
ROUTE, GROUP, SPREAD, EXPERT_GATED, EXPERT_CONVERT, EXPERT_DOWN, COMBINE = range(9, 16)
SHRINK = 16
KV_STORAGES = {"bf16": 0, "int8": 1, "int4": 2}
GATES = {"silu": 0, "gelu_tanh": 1}


class PcpuSegment(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("panel_bytes", c_int64),
        *((name, c_int32) for name in ("storage", "block_len", "blocks_per_group", "num_blocks", "wide_scales", "first_input")),
    )


class PcpuMatrix(ctypes.Structure):
    _fields_ = (
        ("segments", POINTER(PcpuSegment)),
        *((name, c_int32) for name in ("num_segments", "num_outputs", "num_inputs")),
    )


class PcpuBuffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("width", c_int32), ("stride", c_int32))


class PcpuActivation(ctypes.Structure):
    _fields_ = (
        ("form", c_int32),
        ("width", c_int32),
        *((name, c_void_p) for name in ("gather", "codes", "scales", "halves", "sums", "sums16")),
    )


class PcpuEmbed(ctypes.Structure):
    _fields_ = (
        ("dst", PcpuBuffer),
        ("table", POINTER(PcpuMatrix)),
        ("gather", c_void_p),
        ("rows", c_void_p),
        ("rows_storage", c_int32),
        ("num_tokens", c_int32),
        ("scale", c_float),
    )


class PcpuNorm(ctypes.Structure):
    _fields_ = (
        ("src", PcpuBuffer),
        ("dst", PcpuBuffer),
        ("weight", c_void_p),
        ("eps", c_float),
        ("num_forms", c_int32),
        ("forms", POINTER(POINTER(PcpuActivation))),
    )


class PcpuConvert(ctypes.Structure):
    _fields_ = (("src", PcpuBuffer), ("num_forms", c_int32), ("forms", POINTER(POINTER(PcpuActivation))))


class PcpuAdd(ctypes.Structure):
    _fields_ = (("src", PcpuBuffer), ("dst", PcpuBuffer), ("scale", c_float))


class PcpuDown(ctypes.Structure):
    _fields_ = (("matrix", POINTER(PcpuMatrix)), ("adapter", c_int32), ("inner", c_int32), ("scale", c_float))


class PcpuShrink(ctypes.Structure):
    _fields_ = (("src", PcpuBuffer), ("inner", PcpuBuffer), ("downs", POINTER(PcpuDown)), ("num_downs", c_int32))


class PcpuUp(ctypes.Structure):
    _fields_ = (("matrix", POINTER(PcpuMatrix)), *((name, c_int32) for name in ("adapter", "inner", "first_panel")))


class PcpuUps(ctypes.Structure):
    _fields_ = (("inner", PcpuBuffer), ("ups", POINTER(PcpuUp)), ("num_ups", c_int32))


class PcpuPart(ctypes.Structure):
    _fields_ = (
        ("matrix", POINTER(PcpuMatrix)),
        ("x", POINTER(PcpuActivation)),
        ("src", PcpuBuffer),
        ("dst", PcpuBuffer),
        ("bias", c_void_p),
        ("column", c_int32),
        ("add", c_int32),
        ("scale", c_float),
        ("adapted", PcpuUps),
    )


class PcpuLinear(ctypes.Structure):
    _fields_ = (("parts", POINTER(PcpuPart)), ("num_parts", c_int32), ("logits", c_int32), ("softcap", c_float))


class PcpuGated(ctypes.Structure):
    _fields_ = (
        ("gate", POINTER(PcpuMatrix)),
        ("up", POINTER(PcpuMatrix)),
        ("gate_x", POINTER(PcpuActivation)),
        ("up_x", POINTER(PcpuActivation)),
        ("src", PcpuBuffer),
        ("dst", PcpuBuffer),
        ("form", POINTER(PcpuActivation)),
        ("activation", c_int32),
        ("gate_adapted", PcpuUps),
        ("up_adapted", PcpuUps),
    )


class PcpuStoreKV(ctypes.Structure):
    _fields_ = (
        ("src", PcpuBuffer),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("rope_half", c_int32),
        ("context_len", c_int32),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("norm_width", c_int32),
        ("eps", c_float),
        ("layer", c_int32),
        ("pool", c_int32),
        ("num_heads", c_int32),
    )


class PcpuAttend(ctypes.Structure):
    _fields_ = (
        ("src", PcpuBuffer),
        ("dst", PcpuBuffer),
        ("num_forms", c_int32),
        ("forms", POINTER(POINTER(PcpuActivation))),
        *((name, c_int32) for name in ("layer", "pool", "num_heads", "window")),
        ("scale", c_float),
        ("softcap", c_float),
    )


class PcpuRouting(ctypes.Structure):
    _fields_ = (
        ("num_experts", c_int32),
        ("num_chosen", c_int32),
        *((n, c_void_p) for n in ("experts", "weights", "places", "rows", "owners", "starts", "active", "num_active")),
    )


class PcpuRoute(ctypes.Structure):
    _fields_ = (("scores", PcpuBuffer), ("routing", POINTER(PcpuRouting)), ("normalised", c_int32))


class PcpuExpert(ctypes.Structure):
    _fields_ = (("gated", PcpuGated), ("down", PcpuPart), ("inner", POINTER(PcpuActivation)))


class PcpuExperts(ctypes.Structure):
    _fields_ = (
        ("experts", POINTER(PcpuExpert)),
        ("routing", POINTER(PcpuRouting)),
        ("src", PcpuBuffer),
        ("spread", PcpuBuffer),
    )


class PcpuCombine(ctypes.Structure):
    _fields_ = (
        ("src", PcpuBuffer),
        ("dst", PcpuBuffer),
        ("shared", PcpuBuffer),
        ("scores", PcpuBuffer),
        ("routing", POINTER(PcpuRouting)),
    )


class PcpuRecord(ctypes.Structure):
    _fields_ = (("kind", c_int32), ("op", c_void_p))


class PcpuProgram(ctypes.Structure):
    _fields_ = (
        ("records", POINTER(PcpuRecord)),
        *((name, c_int32) for name in ("num_records", "max_tokens", "max_logits")),
    )


class PcpuPool(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("page_bytes", c_int64), ("num_pages", c_int32), ("num_layers", c_int32))


class PcpuCache(ctypes.Structure):
    _fields_ = (
        ("pools", PcpuPool * 2),
        *((name, c_int32) for name in ("page_len", "num_kv_heads", "head_dim", "storage")),
    )


class PcpuBatch(ctypes.Structure):
    _fields_ = (
        *((n, c_int32) for n in ("num_tokens", "num_sequences", "table_width", "num_logit_rows", "num_hidden_rows")),
        *((n, c_void_p) for n in ("tokens", "positions", "owners", "starts", "lengths", "past", "pages", "windowed_pages")),
        *((n, c_void_p) for n in ("logit_rows", "hidden_rows", "adapters", "logits")),
        ("logits_stride", c_int64),
        ("hidden", c_void_p),
        ("hidden_stride", c_int64),
    )


class PcpuSource(ctypes.Structure):
    _fields_ = (
        ("values", c_void_p),
        ("row_stride", c_int64),
        ("scales", c_void_p),
        ("offsets", c_void_p),
        ("scale_stride", c_int64),
        *((name, c_int32) for name in ("num_outputs", "num_inputs", "group_len")),
    )


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    PcpuSegment,
    PcpuMatrix,
    PcpuBuffer,
    PcpuActivation,
    PcpuEmbed,
    PcpuNorm,
    PcpuConvert,
    PcpuAdd,
    PcpuPart,
    PcpuLinear,
    PcpuGated,
    PcpuDown,
    PcpuShrink,
    PcpuUp,
    PcpuUps,
    PcpuStoreKV,
    PcpuAttend,
    PcpuRouting,
    PcpuRoute,
    PcpuExpert,
    PcpuExperts,
    PcpuCombine,
    PcpuRecord,
    PcpuProgram,
    PcpuPool,
    PcpuCache,
    PcpuBatch,
    PcpuSource,
)
