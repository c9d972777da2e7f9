"""Each operation against its definition, written again in float64 and loops, on random page tables over poisoned memory."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.executors.native.batch import Batch
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.plain import operations
from publican.executors.native.plain.cache import KVCache
from publican.executors.native.plain.operations import OPERATIONS, Step
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    GatedLinear,
    Linear,
    Logits,
    Norm,
    Op,
    Program,
    RopeTable,
    StoreKV,
)

HEADS, KV_HEADS, HEAD_DIM, PAGE_LEN = 4, 2, 6, 3
WIDTH = (HEADS + 2 * KV_HEADS) * HEAD_DIM


def ints(values: object) -> np.ndarray:
    return np.array(values, np.int32)


def make_step(lengths: list[int], past: list[int], seed: int = 0, **widths: int) -> Step:
    """A step of sequences with random pages, every buffer random, every page full of NaN."""
    rng = np.random.default_rng(seed)
    num_pages = [-(-(p + n) // PAGE_LEN) for p, n in zip(past, lengths, strict=True)]
    free = rng.permutation(sum(num_pages) + 3)
    pages = np.full((len(lengths), max(num_pages)), -7)  # stale entries must not be read
    for s, count in enumerate(num_pages):
        pages[s, :count], free = free[:count], free[count:]
    owners = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    positions = np.concatenate([np.arange(p, p + n) for p, n in zip(past, lengths, strict=True)])
    total = len(owners)
    batch = Batch(
        ints(rng.integers(0, 9, total)), ints(positions), ints(owners), ints(starts), ints(lengths), ints(past), ints(pages),
        ints([total - 1]), ints([0, total - 1]),
    )  # fmt: skip
    angles = rng.normal(size=(64, 2)).astype(np.float32)
    ropes = (RopeTable(np.cos(angles), np.sin(angles)),)
    program = Program((), widths, ropes, 2, HEADS, KV_HEADS, HEAD_DIM, 8, 9, 64)
    cache = KVCache(2, sum(num_pages) + 3, PAGE_LEN, KV_HEADS, HEAD_DIM)
    cache._keys._numbers[:] = cache._values._numbers[:] = np.nan
    buffers = {name: rng.normal(size=(total, width)).astype(np.float32) for name, width in widths.items()}
    return Step(program, batch, cache, buffers)


def run(op: Op, step: Step) -> None:
    OPERATIONS[type(op)](op, step)


def random(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def naive_attention(op: Attend, queries: np.ndarray, keys: np.ndarray, values: np.ndarray, position: int) -> np.ndarray:
    """One token's attention: queries [heads, d], keys and values [T, kv heads, d]."""
    out = np.zeros((HEADS, HEAD_DIM))
    for head in range(HEADS):
        scores = {}
        for t in range(position + 1):
            if op.window and position - t >= op.window:
                continue
            score = op.scale * float(np.dot(queries[head].astype(float), keys[t, head // (HEADS // KV_HEADS)].astype(float)))
            scores[t] = op.softcap * math.tanh(score / op.softcap) if op.softcap else score
        total = sum(math.exp(s) for s in scores.values())
        for t, score in scores.items():
            out[head] += math.exp(score) / total * values[t, head // (HEADS // KV_HEADS)]
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 8)), min_size=1, max_size=4),
    st.sampled_from([(0, 0.0), (4, 0.0), (1, 0.0), (0, 2.0), (5, 1.5)]),
    st.integers(0, 99),
)
def test_paged_attention_is_plain_attention(sequences: list[tuple[int, int]], kind: tuple[int, float], seed: int) -> None:
    lengths, past = [n for n, _ in sequences], [p for _, p in sequences]
    step = make_step(lengths, past, seed, qkv=WIDTH, out=HEADS * HEAD_DIM)
    op = Attend("qkv", "out", 1, 0.4, *kind)
    known = []
    for s in range(len(sequences)):
        keys, values = random(past[s] + lengths[s], KV_HEADS, HEAD_DIM, seed=s), random(20, KV_HEADS, HEAD_DIM, seed=50 + s)
        values = values[: len(keys)]
        known.append((keys, values))
        table = np.repeat(step.batch.pages[s][None], len(keys), axis=0)
        step.cache.write(1, table, ints(range(len(keys))), keys, values)
    run(op, step)
    for m, (s, position) in enumerate(zip(step.batch.owners, step.batch.positions, strict=True)):
        queries = step.buffers["qkv"][m, : HEADS * HEAD_DIM].reshape(HEADS, HEAD_DIM)
        expected = naive_attention(op, queries, *known[s], int(position))
        np.testing.assert_allclose(step.buffers["out"][m].reshape(HEADS, HEAD_DIM), expected, atol=2e-6)


@pytest.mark.parametrize("rope", [0, -1])
@pytest.mark.parametrize("norms", ["none", "head", "all"])
def test_keys_are_normalised_rotated_and_stored(rope: int, norms: str) -> None:
    step = make_step([3, 1, 4], [0, 7, 2], qkv=WIDTH)
    before = step.buffers["qkv"].copy().reshape(8, -1, HEAD_DIM).astype(float)
    sizes = {"none": (0, 0), "head": (HEAD_DIM, HEAD_DIM), "all": (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM)}[norms]
    q_norm, k_norm = (random(n, seed=n) if n else None for n in sizes)
    run(StoreKV("qkv", 0, rope, q_norm, k_norm, 1e-5), step)
    table = step.program.ropes[0]
    after = step.buffers["qkv"].reshape(8, -1, HEAD_DIM)
    for m, (s, position) in enumerate(zip(step.batch.owners, step.batch.positions, strict=True)):
        heads = {"q": before[m, :HEADS], "k": before[m, HEADS : HEADS + KV_HEADS]}
        for name, weight in (("q", q_norm), ("k", k_norm)):
            x = heads[name]
            if weight is not None and norms == "head":
                x = np.array([h / math.sqrt((h * h).mean() + 1e-5) * weight for h in x])
            if weight is not None and norms == "all":
                x = (x.reshape(-1) / math.sqrt((x * x).mean() + 1e-5) * weight).reshape(x.shape)
            if rope == 0:  # four of six numbers are rotated, in pairs (0, 2) and (1, 3)
                turned = x.copy()
                for i in range(2):
                    c, n = float(table.cos[position, i]), float(table.sin[position, i])
                    turned[:, i], turned[:, i + 2] = x[:, i] * c - x[:, i + 2] * n, x[:, i + 2] * c + x[:, i] * n
                x = turned
            heads[name] = x
        np.testing.assert_allclose(after[m, :HEADS], heads["q"], atol=1e-6)
        keys, values = step.cache.read(0, step.batch.pages[s], int(position) + 1)
        np.testing.assert_allclose(keys[-1], heads["k"], atol=1e-6)
        np.testing.assert_allclose(values[-1], before[m, HEADS + KV_HEADS :], atol=0)


def test_a_copied_page_is_all_layers() -> None:
    cache = KVCache(2, 3, 2, 1, 2)
    keys, values = cache._keys._numbers, cache._values._numbers
    keys[:] = random(*keys.shape)
    values[:] = random(*values.shape, seed=2)
    cache.copy_page(2, 0)
    np.testing.assert_array_equal(keys[:, 0], keys[:, 2])
    np.testing.assert_array_equal(values[:, 0], values[:, 2])
    assert not np.array_equal(keys[:, 1], keys[:, 2])


def test_embed() -> None:
    step, table = make_step([5], [0], x=4), random(9, 4)
    run(Embed("x", DenseMatrix(table), 2.5), step)
    np.testing.assert_array_equal(step.buffers["x"], table[step.batch.tokens] * np.float32(2.5))


def test_norm_in_place() -> None:
    step, weight = make_step([5], [0], x=4), random(4)
    x = step.buffers["x"].astype(float)
    run(Norm("x", "x", weight, 1e-3), step)
    np.testing.assert_allclose(step.buffers["x"], x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3) * weight, rtol=1e-5)


def test_linear_writes_its_columns_or_adds() -> None:
    step, weight, bias = make_step([4], [0], x=5, y=9), random(3, 5), random(3)
    before = step.buffers["y"].copy()
    expected = step.buffers["x"].astype(float) @ weight.T.astype(float) + bias
    run(Linear("x", "y", DenseMatrix(weight), bias, column=4), step)
    np.testing.assert_allclose(step.buffers["y"][:, 4:7], expected, atol=1e-5)
    np.testing.assert_array_equal(step.buffers["y"][:, [0, 1, 2, 3, 7, 8]], before[:, [0, 1, 2, 3, 7, 8]])
    step.buffers["z"] = random(4, 3, seed=3)
    kept = step.buffers["z"].astype(float)
    run(Linear("x", "z", DenseMatrix(weight), bias, add=True, scale=0.3), step)
    np.testing.assert_allclose(step.buffers["z"], kept + 0.3 * expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_gated_linear(activation: str) -> None:
    step, gate, up = make_step([4], [0], x=5, y=7), random(7, 5), random(7, 5, seed=2)
    run(GatedLinear("x", "y", DenseMatrix(gate), DenseMatrix(up), activation), step)  # type: ignore[arg-type]
    x = step.buffers["x"].astype(float)
    g = x @ gate.T
    silu = g / (1 + np.exp(-g))
    gelu = 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)))
    np.testing.assert_allclose(step.buffers["y"], (silu if activation == "silu" else gelu) * (x @ up.T), atol=1e-5)


def expert(seed: int, width: int, inner: int) -> Expert:
    gate, up, down = random(inner, width, seed=seed), random(inner, width, seed=seed + 1), random(width, inner, seed=seed + 2)
    return Expert(DenseMatrix(gate), DenseMatrix(up), DenseMatrix(down))


def through(chosen: Expert, x: np.ndarray) -> np.ndarray:
    gate, up, down = (m.values.astype(float) for m in (chosen.gate, chosen.up, chosen.down))
    g = gate @ x
    return np.asarray(down @ (g / (1 + np.exp(-g)) * (up @ x)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 99), st.data())
def test_experts(num_rows: int, num_experts: int, normalised: bool, shared: bool, seed: int, data: st.DataObject) -> None:
    """Row by row; many of the router's scores are equal, so that the lower number must come first."""
    num_chosen = data.draw(st.integers(1, num_experts))
    step = make_step([num_rows], [0], seed, x=4, y=4)
    x, y = step.buffers["x"].astype(float), step.buffers["y"].astype(float)
    router = np.random.default_rng(seed).integers(-1, 2, (num_experts, 4)).astype(np.float32)
    router[num_experts // 2] = router[0]
    many = [expert(100 * e, 4, 6) for e in range(num_experts)]
    gate = random(4, seed=seed) if shared else None
    run(Experts("x", "y", router, iter(many), num_chosen, 6, normalised, shared="y" if shared else "", shared_gate=gate), step)
    for m in range(num_rows):
        p = np.exp(x[m] @ router.T)
        p /= p.sum()
        chosen = sorted(range(num_experts), key=lambda e: (-np.float32(p[e]), e))[:num_chosen]
        total = p[chosen].sum() if normalised else 1.0
        expected = sum((p[e] / total * through(many[e], x[m]) for e in chosen), np.zeros(4))
        if gate is not None:
            expected += y[m] / (1 + np.exp(-(x[m] @ gate)))
        np.testing.assert_allclose(step.buffers["y"][m], expected, atol=2e-4)


def test_a_row_of_nan_chooses_somebody_and_stays_nan() -> None:
    step = make_step([2], [0], x=4, y=4)
    step.buffers["x"][0, 1] = np.nan
    run(Experts("x", "y", random(3, 4), [expert(e, 4, 6) for e in range(3)], 2, 6), step)
    assert np.isnan(step.buffers["y"][0]).all()
    assert np.isfinite(step.buffers["y"][1]).all()


def test_silu_of_the_very_negative_is_zero() -> None:
    x = np.array([-1e4, -200.0, -90.0, 0.0, 200.0], np.float32)
    np.testing.assert_allclose(operations._silu(x), [0, 0, 0, 0, 200], atol=1e-30)


def test_add() -> None:
    step = make_step([3], [0], x=4, y=4)
    expected = step.buffers["y"] + np.float32(0.5) * step.buffers["x"]
    run(Add("x", "y", 0.5), step)
    np.testing.assert_array_equal(step.buffers["y"], expected)


def test_logits_of_the_rows_that_want_them() -> None:
    step, norm, weight = make_step([3, 4], [0, 0], x=8), random(8), random(9, 8)
    run(Logits("x", norm, 1e-5, DenseMatrix(weight), scale=0.5, softcap=2.0), step)
    x = step.buffers["x"].astype(float)
    normed = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * norm
    np.testing.assert_allclose(step.logits, 2.0 * np.tanh(0.5 * normed[[6]] @ weight.T / 2.0), atol=1e-5)
    np.testing.assert_allclose(step.hidden, normed[[0, 6]], atol=1e-5)


def test_every_operation_has_its_function() -> None:
    for kind in (Embed, Norm, Linear, GatedLinear, Add, StoreKV, Attend, Logits):
        assert dataclasses.is_dataclass(kind)
        assert kind in OPERATIONS
