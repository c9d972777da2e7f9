"""Store-KV and attention against NumPy: ragged batches over scattered pages, and every option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from publican.executors.native.cpu import records
from publican.executors.native.cpu.library import Engine
from publican.executors.native.kv_codes import decode, encode, mix
from tests.executors.native.cpu.harness import Harness, shape_program, to_bf16


@dataclass
class Case:
    """What a test varies; the rest is usual."""

    heads: int = 3
    kv_heads: int = 1
    head_dim: int = 64
    rope_dim: int = 64
    qk_norm: str = "none"
    window: int = 0
    softcap: float = 0.0
    kv: str = "bf16"
    page_len: int = 16
    scale: float = 0.0
    size: float = 1.0

    @property
    def width(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim


class Model:
    """The numbers of a case: inputs of each sequence, rope tables, norm weights."""

    def __init__(self, case: Case, lengths: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.case = case
        self.inputs = [(rng.standard_normal((n, case.width)) * case.size).astype(np.float32) for n in lengths]
        angles = rng.uniform(0, 6, (max(lengths, default=0) + 1, case.rope_dim // 2))
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        per = case.head_dim if case.qk_norm == "head" else 1
        self.q_norm = rng.uniform(0.5, 1.5, per if case.qk_norm == "head" else case.heads * case.head_dim).astype(np.float32)
        self.k_norm = rng.uniform(0.5, 1.5, per if case.qk_norm == "head" else case.kv_heads * case.head_dim).astype(np.float32)


def rms(x: Any, weight: Any) -> Any:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight


def rotated(model: Model, x: Any) -> Any:
    """x [tokens, heads, head_dim] by position, NeoX's pairs."""
    half = model.case.rope_dim // 2
    if half == 0:
        return x
    cos, sin = model.cos[: len(x), None], model.sin[: len(x), None]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def quantised_kv(x: Any, kv: str) -> Any:
    if kv == "bf16":
        return to_bf16(x).astype(np.float64)
    if kv == "int4":
        return decode(encode(x.astype(np.float32), "q4"), x.shape[-1]).astype(np.float64)
    scale = np.abs(x).max(-1, keepdims=True) / 127
    return np.rint(x / np.where(scale > 0, scale, 1)) * scale


def twin(model: Model, x: Any) -> Any:
    """All rows of one sequence from its beginning."""
    c = model.case
    tokens = len(x)
    x = x.astype(np.float64)
    q = x[:, : c.heads * c.head_dim]
    k = x[:, c.heads * c.head_dim : (c.heads + c.kv_heads) * c.head_dim]
    v = x[:, (c.heads + c.kv_heads) * c.head_dim :].reshape(tokens, c.kv_heads, c.head_dim)
    if c.qk_norm == "all":
        q, k = rms(q, model.q_norm), rms(k, model.k_norm)
    q, k = q.reshape(tokens, c.heads, c.head_dim), k.reshape(tokens, c.kv_heads, c.head_dim)
    if c.qk_norm == "head":
        q, k = rms(q, model.q_norm), rms(k, model.k_norm)
    q, k = rotated(model, q), rotated(model, k)
    if c.kv == "int4":
        mix(q)
        mix(k)
    q, k, v = to_bf16(q).astype(np.float64), quantised_kv(k, c.kv), quantised_kv(v, c.kv)
    group = c.heads // c.kv_heads
    scores = np.einsum("thd,shd->hts", q, np.repeat(k, group, 1)) * (c.scale or c.head_dim**-0.5)
    if c.softcap:
        scores = c.softcap * np.tanh(scores / c.softcap)
    i, j = np.arange(tokens)[:, None], np.arange(tokens)[None]
    seen = (j <= i) & ((i - j < c.window) if c.window else True)
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = np.einsum("hts,shd->thd", weights, np.repeat(v, group, 1)) / weights.sum(-1).T[..., None]
    return out.reshape(tokens, -1)


class Runner:
    """A cache, its pages shuffled, and steps on it."""

    def __init__(self, engine: Engine, model: Model, lengths: list[int], seed: int = 1) -> None:
        c = model.case
        self.engine, self.model, self.lengths = engine, model, lengths
        self.pages_each = max(-(-max(lengths) // c.page_len), 1)
        num_pages = self.pages_each * len(lengths) + 1
        program = shape_program(c.heads, c.kv_heads, c.head_dim, layers=2)
        order = np.random.default_rng(seed).permutation(num_pages - 1) + 1
        self.pages = order.astype(np.int32).reshape(len(lengths), self.pages_each)
        rows = sum(lengths)
        widths = {"qkv": c.width, "out": c.heads * c.head_dim}
        self.harness = Harness(engine, widths, rows, program, num_pages, c.page_len, c.kv)
        self.forms = [self.harness.form("out", (records.INT8, widths["out"], None))] if c.head_dim % 32 == 0 else []
        self.record()

    def record(self) -> None:
        c, h, m = self.model.case, self.harness, self.model
        store = records.PcpuStoreKV(src=h.buffers["qkv"], eps=1e-5, layer=1, num_heads=c.heads, context_len=len(m.cos))
        if c.rope_dim:
            store.cos, store.sin, store.rope_half = m.cos.ctypes.data, m.sin.ctypes.data, c.rope_dim // 2
        if c.qk_norm != "none":
            store.q_norm, store.k_norm = m.q_norm.ctypes.data, m.k_norm.ctypes.data
            store.norm_width = c.qk_norm == "all"
        attend = records.PcpuAttend(
            src=h.buffers["qkv"],
            dst=h.buffers["out"],
            num_forms=len(self.forms),
            forms=h.buffers.form_list(self.forms),
            layer=1,
            num_heads=c.heads,
            window=c.window,
            scale=c.scale or c.head_dim**-0.5,
            softcap=c.softcap,
        )
        h.add(records.STORE_KV, store)
        h.add(records.ATTEND, attend)

    def step(self, rows: dict[int, tuple[int, int]]) -> dict[int, Any]:
        """Positions start … end - 1 of some sequences; returns their outputs."""
        inputs = np.concatenate([self.model.inputs[s][start:end] for s, (start, end) in rows.items()])
        self.harness.rows = len(inputs)
        self.harness.fill("qkv", inputs)
        counts = [end - start for start, end in rows.values()]
        past = [start for start, _ in rows.values()]
        self.harness.run(counts, past, pages=self.pages[list(rows)])
        out = self.harness.read("out")
        ends = np.cumsum(counts)
        return {s: out[end - n : end] for s, end, n in zip(rows, ends, counts, strict=True)}

    def all_at_once(self) -> dict[int, Any]:
        return self.step({s: (0, n) for s, n in enumerate(self.lengths)})


CASES = {
    "usual": Case(),
    "int8": Case(kv="int8"),
    "mha": Case(heads=4, kv_heads=4, head_dim=32, rope_dim=32),
    "wide group": Case(heads=20, kv_heads=1, head_dim=32, rope_dim=16),
    "gqa 4": Case(heads=8, kv_heads=2, head_dim=128, rope_dim=128),
    "head 80": Case(heads=2, kv_heads=2, head_dim=80, rope_dim=20),
    "head 96": Case(heads=6, kv_heads=3, head_dim=96, rope_dim=96, kv="int8"),
    "head 256": Case(heads=2, kv_heads=1, head_dim=256, rope_dim=256),
    "odd head": Case(heads=3, kv_heads=3, head_dim=18, rope_dim=18),
    "odd head int8": Case(heads=3, kv_heads=3, head_dim=18, rope_dim=18, kv="int8"),
    "int4": Case(kv="int4"),
    "gqa 4 int4": Case(heads=8, kv_heads=2, head_dim=128, rope_dim=128, kv="int4"),
    "head 80 int4": Case(heads=2, kv_heads=2, head_dim=80, rope_dim=20, kv="int4"),
    "head 96 int4": Case(heads=9, kv_heads=3, head_dim=96, rope_dim=96, kv="int4"),
    "head 256 int4": Case(heads=2, kv_heads=1, head_dim=256, rope_dim=256, kv="int4"),
    "odd head int4": Case(heads=3, kv_heads=3, head_dim=18, rope_dim=18, kv="int4"),
    "window int4": Case(window=20, kv="int4", page_len=32),
    "softcap int4": Case(softcap=5.0, scale=0.4, kv="int4"),
    "tiny numbers int4": Case(size=1e-20, kv="int4"),
    "no rope": Case(rope_dim=0),
    "norm per head": Case(heads=4, kv_heads=2, qk_norm="head"),
    "norm over all": Case(heads=4, kv_heads=2, qk_norm="all"),
    "window": Case(window=37),
    "window 1": Case(window=1),
    "window int8": Case(window=20, kv="int8"),
    "softcap": Case(softcap=5.0, scale=0.4),
    "large pages": Case(page_len=48),
    "large numbers": Case(size=30.0),
    "tiny numbers": Case(size=1e-20),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(engine: Engine, name: str) -> None:
    case = CASES[name]
    lengths = [1, 17, 40] if "portable" in engine.variant else [1, 17, 40, 290]
    model = Model(case, lengths)
    got = Runner(engine, model, lengths).all_at_once()
    for s, x in enumerate(model.inputs):
        expected = twin(model, x)
        # Weights are rounded to bf16 before they meet the values.
        np.testing.assert_allclose(got[s], expected, rtol=0.01, atol=0.006 * np.abs(x).max())


@pytest.mark.parametrize("name", ["usual", "int8", "int4", "head 80 int4", "window", "gqa 4", "mha", "head 80", "softcap"])
def test_results_do_not_depend_on_batch_mates_or_chunks(engine: Engine, name: str) -> None:
    """Bit for bit: all at once; each alone in pieces of odd sizes; one token of each at a time; however work was split."""
    case = CASES[name]
    lengths = [30, 47] if "portable" in engine.variant else [30, 600, 270]
    model = Model(case, lengths)
    together = Runner(engine, model, lengths).all_at_once()
    for pieces in (7, 64):
        alone = Runner(engine, model, lengths, seed=2)
        for s, n in enumerate(lengths):
            parts = [alone.step({s: (i, min(i + pieces, n))})[s] for i in range(0, n, pieces)]
            np.testing.assert_array_equal(np.concatenate(parts), together[s])
    mixed = Runner(engine, model, lengths, seed=3)
    mixed.step({s: (0, n - 3) for s, n in enumerate(lengths)})
    for back in (3, 2, 1):
        for s, row in mixed.step({s: (n - back, n - back + 1) for s, n in enumerate(lengths)}).items():
            np.testing.assert_array_equal(row[0], together[s][-back])


def test_one_thread_and_many_agree(library: Any) -> None:
    """A long context of one sequence is cut into chunks for several threads, and not for one."""
    model = Model(CASES["usual"], [1100])
    results = []
    for num_threads in (1, 2, 5):
        engine = Engine(library, num_threads)
        runner = Runner(engine, model, [1100])
        runner.step({0: (0, 1099)})
        results.append(runner.step({0: (1099, 1100)})[0])
        engine.close()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_allclose(results[0], twin(model, model.inputs[0])[-1:], rtol=0.01, atol=0.02)


@pytest.mark.parametrize("kv", ["bf16", "int8", "int4"])
def test_what_pages_held_before_does_not_matter(engine: Engine, kv: str) -> None:
    """A page full of NaN, left by a sequence that went wrong, is given to another one."""
    case = Case(kv=kv)
    model = Model(case, [21])
    clean = Runner(engine, model, [21]).all_at_once()[0]
    dirty = Runner(engine, model, [21])
    sound = model.inputs[0]
    model.inputs[0] = np.full_like(sound, np.nan)
    dirty.step({0: (0, 21)})
    model.inputs[0] = sound
    parts = [dirty.step({0: (i, i + 1)})[0] for i in range(21)]
    np.testing.assert_array_equal(np.concatenate(parts), clean)


def test_forms_hold_what_the_buffer_holds(engine: Engine) -> None:
    case = CASES["gqa 4"]
    model = Model(case, [19, 5])
    runner = Runner(engine, model, [19, 5])
    runner.all_at_once()
    codes, scales = runner.harness.codes("out", (records.INT8, 8 * 128, None))
    out = runner.harness.read("out")
    steps = np.repeat(scales, 32, 1)
    assert (np.abs(codes * steps - out) <= steps * 0.501).all()
