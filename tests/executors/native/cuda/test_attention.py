"""Keys into pages and attention over them, on random page tables over poisoned memory, against float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from publican.executors.native.batch import Batch
from publican.executors.native.cuda.inputs import BlockSizes, Inputs, StepInputs
from publican.executors.native.cuda.kernels import TritonOperations, attention
from publican.executors.native.cuda.operations import HeadNorms, Heads, Operations, Pages, Scores
from publican.executors.native.cuda.twins import TorchOperations
from publican.executors.native.kv_codes import mix

OPERATIONS = pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()], ids=["kernels", "twins"])


def ints(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


class Case:
    """Sequences with random pages; what they hold is in `held`, keys and values [tokens, kv heads, dim] each."""

    def __init__(self, lengths: list[int], past: list[int], heads: Heads, page_len: int, device: torch.device) -> None:
        rng = np.random.default_rng(sum(lengths) + 7 * sum(past))
        ends = [p + n for p, n in zip(past, lengths, strict=True)]
        counts = [-(-end // page_len) for end in ends]
        free = rng.permutation(sum(counts) + 3)
        tables = np.full((len(lengths), max(counts) + 1), 10**6)  # stale entries must not be read
        for s, count in enumerate(counts):
            tables[s, :count], free = free[:count], free[count:]
        owners = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.cumsum(lengths) - lengths
        positions = np.concatenate([np.arange(p, e) for p, e in zip(past, ends, strict=True)])
        nothing = ints([])
        self.batch = Batch(
            ints(owners), ints(positions), ints(owners), ints(starts), ints(lengths), ints(past), ints(tables), nothing, nothing
        )
        self.heads, self.page_len, self.past = heads, page_len, past
        shape = sum(counts) + 3, heads.num_kv, page_len, heads.dim
        self.pages = Pages(*(torch.full(shape, torch.nan, device=device) for _ in range(2)))
        width = (heads.num_q + 2 * heads.num_kv) * heads.dim
        self.qkv = torch.from_numpy(rng.standard_normal((len(owners), width)).astype(np.float32)).to(device)
        self.held = [rng.standard_normal((2, end, heads.num_kv, heads.dim)).astype(np.float32) for end in ends]
        for s, held in enumerate(self.held):
            for t in range(past[s]):
                self.put(s, t, held[0, t], held[1, t])

    def put(self, s: int, t: int, key: np.ndarray, value: np.ndarray) -> None:
        page = self.batch.pages[s, t // self.page_len]
        self.pages.keys[page, :, t % self.page_len] = torch.from_numpy(key)
        self.pages.values[page, :, t % self.page_len] = torch.from_numpy(value)

    def sent(self, operations: Operations) -> StepInputs:
        limits = len(self.batch.tokens), len(self.batch.starts), self.batch.pages.shape[1]
        sizes = BlockSizes(*operations.block_sizes(self.heads))
        has_windows = self.batch.windowed_pages is not None
        return Inputs([self.qkv.device], limits, sizes, has_windows).send(self.batch)[0]

    def parts(self) -> list[np.ndarray]:
        """q, k and v [M, heads, dim], float64."""
        cut = self.qkv.double().cpu().numpy().reshape(len(self.qkv), -1, self.heads.dim)
        return np.split(cut, [self.heads.num_q, self.heads.num_q + self.heads.num_kv], 1)


def expected_attention(case: Case, scores: Scores) -> np.ndarray:
    """Row by row, head by head."""
    q, k, v = case.parts()
    out = np.zeros_like(q)
    batch, group = case.batch, case.heads.per_kv
    for m, (s, position) in enumerate(zip(batch.owners, batch.positions, strict=True)):
        keys, values = case.held[s].astype(np.float64)
        own = slice(batch.starts[s], batch.starts[s] + batch.lengths[s])
        keys[case.past[s] :], values[case.past[s] :] = k[own], v[own]
        first = max(0, position - scores.window + 1) if scores.window else 0
        for head in range(case.heads.num_q):
            z = scores.scale * keys[first : position + 1, head // group] @ q[m, head]
            z = scores.softcap * np.tanh(z / scores.softcap) if scores.softcap else z
            w = np.exp(z - z.max())
            out[m, head] = w / w.sum() @ values[first : position + 1, head // group]
    return out.reshape(len(q), -1)


def check(operations: Operations, case: Case, scores: Scores) -> None:
    inputs = case.sent(operations)
    operations.store_kv(case.qkv, case.pages, inputs, case.heads, HeadNorms(), None)
    dst = torch.full((len(case.qkv), case.heads.num_q * case.heads.dim), torch.nan, device=case.qkv.device)
    operations.attend(case.qkv, case.pages, inputs, case.heads, scores, dst)
    np.testing.assert_allclose(dst.cpu(), expected_attention(case, scores), rtol=1e-4, atol=2e-5)


@OPERATIONS
@settings(max_examples=7, deadline=None)
@given(data=st.data())
def test_any_batch(operations: Operations, device: torch.device, data: st.DataObject) -> None:
    """Prompts and decoding side by side, on pages of any length, heads of any width and grouping."""
    count = data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.sampled_from([1, 1, 2, 17, 40]), min_size=count, max_size=count))
    past = data.draw(st.lists(st.sampled_from([0, 1, 15, 16, 70]), min_size=count, max_size=count))
    num_kv, per_kv = data.draw(st.sampled_from([(1, 1), (2, 3), (1, 7), (2, 4)]))
    heads = Heads(num_kv * per_kv, num_kv, data.draw(st.sampled_from([12, 16, 32])))
    scores = Scores(0.3, data.draw(st.sampled_from([0, 1, 20])), data.draw(st.sampled_from([0.0, 1.5])))
    check(operations, Case(lengths, past, heads, data.draw(st.sampled_from([3, 16])), device), scores)


@pytest.mark.parametrize("window", [0, 30])
def test_what_is_held_is_split_among_programs(window: int, device: torch.device) -> None:
    """Long contexts and few sequences; some parts are empty for some sequences, and with a window for most."""
    case = Case([1, 2, 1], [300, 9, 0], Heads(4, 2, 16), 16, device)
    assert attention.parts_for(3 * 2, case.batch.pages.shape[1] * 16) == 4
    check(TritonOperations(), case, Scores(0.25, window))


@OPERATIONS
@pytest.mark.parametrize(("lengths", "past"), [([1, 1, 2], [300, 9, 40]), ([40, 1], [35, 70])])
def test_layers_with_a_window_have_a_table_of_their_own(
    operations: Operations, lengths: list[int], past: list[int], device: torch.device
) -> None:
    """The other table is stale all over, and so is what lies behind the window in this one: a page of poison."""
    window, page_len = 30, 4
    case = Case(lengths, past, Heads(4, 2, 16), page_len, device)
    batch, poison = case.batch, len(case.pages.keys)
    case.pages = dataclasses.replace(
        case.pages,
        keys=torch.cat([case.pages.keys, torch.full_like(case.pages.keys[:1], torch.nan)]),
        values=torch.cat([case.pages.values, torch.full_like(case.pages.values[:1], torch.nan)]),
        is_windowed=True,
    )
    windowed = batch.pages.copy()
    for s, held in enumerate(past):
        windowed[s, : max(0, held + 1 - window) // page_len] = poison
    case.batch = dataclasses.replace(batch, pages=np.full_like(batch.pages, poison), windowed_pages=windowed)
    check(operations, case, Scores(0.25, window))
    assert torch.isnan(case.pages.keys[poison]).all()


def test_how_many_parts() -> None:
    assert attention.parts_for(8, 255) == 1
    assert attention.parts_for(8, 4096) == 16
    assert attention.parts_for(1, 1 << 20) == 16
    assert attention.parts_for(40, 4096) == 4
    assert attention.parts_for(64 * 8, 1 << 20) == 1


@OPERATIONS
@pytest.mark.parametrize("lengths", [[1, 1], [40, 2]])
def test_eight_bits(operations: Operations, lengths: list[int], device: torch.device) -> None:
    """A number is off by half a step of its own token and head at most; attention over what is held is exact again."""
    case = Case(lengths, [0, 0], Heads(4, 2, 12), 16, device)
    shape = case.pages.keys.shape
    codes = [torch.full(shape, 99, dtype=torch.int8, device=device) for _ in range(2)]
    scales = [torch.full(shape[:3], torch.nan, dtype=torch.float16, device=device) for _ in range(2)]
    case.pages = Pages(*codes, *scales)
    case.qkv[0, 4 * 12 : 5 * 12] = 0.0  # a key of nothing but zeros
    _, k, v = case.parts()
    inputs = case.sent(operations)
    operations.store_kv(case.qkv, case.pages, inputs, case.heads, HeadNorms(), None)
    for exact, code, scale, kind in ((k, *codes[:1], scales[0], 0), (v, *codes[1:], scales[1], 1)):
        for m, (s, t) in enumerate(zip(case.batch.owners, case.batch.positions, strict=True)):
            place = case.batch.pages[s, t // 16], slice(None), t % 16
            got = code[place].double().cpu().numpy() * scale[place].double().cpu().numpy()[:, None]
            step = np.maximum(np.abs(exact[m]).max(1, keepdims=True) / 127, 2.0**-14)
            assert (np.abs(got - exact[m]) <= 0.56 * step).all()  # and float16's rounding of the scale
            case.held[s][kind, t] = got
    q = case.qkv.view(len(case.qkv), -1, 12)
    for m, (s, t) in enumerate(zip(case.batch.owners, case.batch.positions, strict=True)):
        q[m, 4:] = torch.from_numpy(case.held[s][:, t].reshape(4, 12)).to(device)
    dst = torch.full((len(case.qkv), 48), torch.nan, device=device)
    operations.attend(case.qkv, case.pages, inputs, case.heads, Scores(0.4), dst)
    np.testing.assert_allclose(dst.cpu(), expected_attention(case, Scores(0.4)), rtol=1e-3, atol=1e-4)


@OPERATIONS
@pytest.mark.parametrize(("lengths", "dim"), [([1, 1], 64), ([40, 2], 32), ([3, 17], 96)])
def test_four_bits(operations: Operations, lengths: list[int], dim: int, device: torch.device) -> None:
    """Numbers are off by half a step, or by one where the codes end; attention over what is held is exact again."""
    case = Case(lengths, [0, 0], Heads(4, 2, dim), 16, device)
    *shape, _ = case.pages.keys.shape
    codes = [torch.full((*shape, dim // 2), 99, dtype=torch.uint8, device=device) for _ in range(2)]
    steps = [torch.full((*shape, dim // 32), torch.nan, dtype=torch.float16, device=device) for _ in range(2)]
    case.pages = Pages(*codes, *steps)
    case.qkv[0, 4 * dim : 5 * dim] = 0.0  # a key of nothing but zeros
    q, k, v = case.parts()
    for part in (q, k):
        mix(part)
    inputs = case.sent(operations)
    operations.store_kv(case.qkv, case.pages, inputs, case.heads, HeadNorms(), None)
    np.testing.assert_allclose(case.parts()[0], q, rtol=1e-4, atol=1e-5)
    for exact, code, step, kind in ((k, codes[0], steps[0], 0), (v, codes[1], steps[1], 1)):
        for m, (s, t) in enumerate(zip(case.batch.owners, case.batch.positions, strict=True)):
            place = case.batch.pages[s, t // 16], slice(None), t % 16
            raw, sizes = code[place].cpu().numpy(), np.repeat(step[place].double().cpu().numpy(), 32, 1)
            both = np.concatenate([raw.reshape(2, -1, 16) & 15, raw.reshape(2, -1, 16) >> 4], 2).reshape(2, dim)
            got = (both - 8.0) * sizes
            largest = np.repeat(np.abs(exact[m]).reshape(2, -1, 32).max(2), 32, 1)
            bound = np.where(np.abs(exact[m]) < 0.86 * largest, 0.51, 1.01) * np.maximum(largest / 8, 2.0**-14)
            assert (np.abs(got - exact[m]) <= bound).all()
            case.held[s][kind, t] = got
    rows = case.qkv.view(len(case.qkv), -1, dim)
    for m, (s, t) in enumerate(zip(case.batch.owners, case.batch.positions, strict=True)):
        rows[m, 4:] = torch.from_numpy(case.held[s][:, t].reshape(4, dim)).to(device)
    dst = torch.full((len(case.qkv), 4 * dim), torch.nan, device=device)
    operations.attend(case.qkv, case.pages, inputs, case.heads, Scores(0.2), dst)
    np.testing.assert_allclose(dst.cpu(), expected_attention(case, Scores(0.2)), rtol=1e-3, atol=1e-4)


def test_four_bits_split_among_programs(device: torch.device) -> None:
    """A long context in parts, beside the twins: the same pages, the same numbers."""
    results = []
    for operations in (TritonOperations(), TorchOperations()):
        case = Case([300, 2], [0, 0], Heads(4, 2, 32), 16, device)
        *shape, _ = case.pages.keys.shape
        codes = [torch.zeros((*shape, 16), dtype=torch.uint8, device=device) for _ in range(2)]
        case.pages = Pages(*codes, *(torch.zeros((*shape, 1), dtype=torch.float16, device=device) for _ in range(2)))
        twins, kept = TorchOperations(), case.qkv.clone()
        twins.store_kv(case.qkv, case.pages, case.sent(twins), case.heads, HeadNorms(), None)
        case.batch = Batch(
            ints([0]), ints([300]), ints([0]), ints([0]), ints([1]), ints([300]), case.batch.pages[:1], *[ints([])] * 2
        )
        case.qkv = kept[-1:]
        inputs = case.sent(operations)
        operations.store_kv(case.qkv, case.pages, inputs, case.heads, HeadNorms(), None)
        dst = torch.full((1, 128), torch.nan, device=device)
        operations.attend(case.qkv, case.pages, inputs, case.heads, Scores(0.3), dst)
        results.append(dst.cpu())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-3, atol=1e-4)


@OPERATIONS
@pytest.mark.parametrize(("dim", "turned"), [(16, 16), (16, 8), (12, 12), (6, 2)])
@pytest.mark.parametrize("has_norms", [False, True])
def test_keys_are_normalised_rotated_and_stored(
    operations: Operations, dim: int, turned: int, has_norms: bool, device: torch.device
) -> None:
    case = Case([2, 5], [3, 0], Heads(4, 2, dim), 4, device)
    rng = np.random.default_rng(0)
    angles = rng.normal(size=(20, turned // 2))
    weights = rng.normal(size=(2, dim)).astype(np.float32)
    cos, sin = (torch.from_numpy(f(angles).astype(np.float32)).to(device) for f in (np.cos, np.sin))
    norms = HeadNorms(*torch.from_numpy(weights).to(device), 1e-3) if has_norms else HeadNorms()  # type: ignore[misc]
    q, k, v = case.parts()

    def expect(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if has_norms:
            x = x / np.sqrt((x * x).mean(2, keepdims=True) + 1e-3) * weight
        half, a = turned // 2, angles[case.batch.positions][:, None]
        first, second = x[..., :half], x[..., half:turned]
        rotated = [first * np.cos(a) - second * np.sin(a), second * np.cos(a) + first * np.sin(a)]
        return np.concatenate([*rotated, x[..., turned:]], 2)

    operations.store_kv(case.qkv, case.pages, case.sent(operations), case.heads, norms, (cos, sin))
    got_q, _, _ = case.parts()
    np.testing.assert_allclose(got_q, expect(q, weights[0]), rtol=1e-4, atol=1e-5)
    expected_k = expect(k, weights[1])
    for m, (s, t) in enumerate(zip(case.batch.owners, case.batch.positions, strict=True)):
        place = case.batch.pages[s, t // 4], slice(None), t % 4
        np.testing.assert_allclose(case.pages.keys[place].cpu(), expected_k[m], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(case.pages.values[place].cpu(), v[m], rtol=1e-6)
    assert int((~torch.isnan(case.pages.keys[:, 0, :, 0])).sum()) == 10  # three held before, seven new, and nothing else
