"""Mixtures of experts against the plain backend, with every instruction set: who goes where, and what comes of it."""

from __future__ import annotations

import ctypes
import dataclasses
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError
from publican.executors.native.cpu import records
from publican.executors.native.cpu.library import Engine
from publican.executors.native.cpu.mixtures import Mixtures, pack_experts
from publican.executors.native.layout import DenseMatrix, dequantise
from publican.executors.native.plain import operations
from publican.executors.native.program import Expert, Experts
from tests.executors.native.cpu import programs
from tests.executors.native.cpu.harness import Harness

HIDDEN = 96
SOME = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Mixture:
    """One mixture on an engine, and what the plain backend makes of the same rows."""

    def __init__(self, engine: Engine, op: Experts, x: Any, shared: Any = None, form: int = records.INT8) -> None:
        self.op, self.x, self.shared = op, x, shared
        self.h = Harness(engine, {"normed": x.shape[1], "branch": x.shape[1]}, len(x))
        self.h.fill("normed", x)
        if shared is not None:
            self.h.fill("branch", shared)
        self._packed = pack_experts(op, self.h.packer)
        num_experts = len(self._packed) // 3
        self._mixtures = Mixtures([(op, num_experts)], self.h.buffers, max(len(x), 1), form)
        for kind, record in self._mixtures.records(op, self._packed):
            self.h.add(kind, record)
        self.routing = self._mixtures._routing(num_experts, op.num_chosen)

    def run(self) -> Any:
        self.h.run()
        return self.h.read("branch")

    def noted(self, name: str, *shape: int) -> Any:
        """An array of the routing."""
        kind = ctypes.c_float if name == "weights" else ctypes.c_int32
        size = int(np.prod(shape))
        return np.ctypeslib.as_array((kind * size).from_address(getattr(self.routing, name))).reshape(shape).copy()

    def plain(self) -> Any:
        def dense(expert: Expert) -> Expert:
            return Expert(*(DenseMatrix(dequantise(m)) for m in (expert.gate, expert.up, expert.down)))

        buffers = {"normed": self.x, "branch": np.zeros_like(self.x) if self.shared is None else self.shared.copy()}
        step: Any = SimpleNamespace(buffers=buffers)
        operations.experts(dataclasses.replace(self.op, experts=[dense(e) for e in self.op.experts]), step)
        return buffers["branch"]


def rows_of(rng: np.random.Generator, num: int) -> Any:
    return rng.standard_normal((num, HIDDEN)).astype(np.float32)


def made(weights: str, seed: int, shared: bool = False, activation: str = "silu") -> Experts:
    rng = np.random.default_rng(seed)
    *_, op = programs.mixture(getattr(programs, weights), rng, HIDDEN, "normed", 64 if shared else 0, activation)
    assert isinstance(op, Experts)
    return op


@pytest.mark.parametrize("num_rows", [1, 2, 13, 60])
@pytest.mark.parametrize("weights", ["q4", "q6", "ordered", "bf16", "f32", "mixed"])
@pytest.mark.parametrize("form", [records.INT8, records.HALVES], ids=["int8", "bf16"])
def test_equals_plain(engine: Engine, weights: str, num_rows: int, form: int) -> None:
    rng = np.random.default_rng(num_rows)
    shared = rows_of(rng, num_rows) if num_rows % 2 else None
    op = made(weights, num_rows, shared is not None, "gelu_tanh" if num_rows == 2 else "silu")
    mixture = Mixture(engine, op, rows_of(rng, num_rows), shared, form)
    got, expected = mixture.run(), mixture.plain()
    limit = 1e-5 if weights == "f32" else 0.03 if form == records.INT8 else 0.015
    assert np.abs(got - expected).max() < limit * max(1.0, np.abs(expected).max())
    np.testing.assert_array_equal(mixture.run() if shared is None else got, got)


@given(st.integers(1, 40), st.integers(0, 2**32))
@SOME
def test_every_row_has_its_places(engine: Engine, num_rows: int, seed: int) -> None:
    """Scores of small whole numbers are exact and often equal: then the lower expert comes first."""
    rng = np.random.default_rng(seed)
    op = made("f32", 1)
    router = np.zeros((7, HIDDEN), np.float32)
    router[:, :4] = rng.integers(-1, 2, (7, 4))
    op = dataclasses.replace(op, router=router)
    x = rng.integers(-2, 3, (num_rows, HIDDEN)).astype(np.float32)
    mixture = Mixture(engine, op, x)
    mixture.run()
    scores = x @ router.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    experts, places = mixture.noted("experts", num_rows, 3), mixture.noted("places", num_rows, 3)
    np.testing.assert_array_equal(experts, expected)
    best = np.take_along_axis(np.exp(scores - scores.max(1, keepdims=True)), expected, 1)
    np.testing.assert_allclose(mixture.noted("weights", num_rows, 3), best / best.sum(1, keepdims=True), rtol=2e-6)
    assert sorted(places.ravel()) == list(range(3 * num_rows))
    rows, owners = mixture.noted("rows", 3 * num_rows), mixture.noted("owners", 3 * num_rows)
    np.testing.assert_array_equal(rows[places], np.repeat(np.arange(num_rows)[:, None], 3, 1))
    np.testing.assert_array_equal(owners[places], experts)
    starts = mixture.noted("starts", 8)
    np.testing.assert_array_equal(starts, np.searchsorted(owners, np.arange(8)))
    assert all((np.diff(rows[a:b]) > 0).all() for a, b in pairwise(starts))
    num_active = int(mixture.noted("num_active", 1)[0])
    assert mixture.noted("active", 7)[:num_active].tolist() == sorted(set(experts.ravel()))


def test_a_row_does_not_depend_on_those_beside_it(engine: Engine) -> None:
    """Bit for bit, however many rows an expert has."""
    op, x = made("mixed", 3), rows_of(np.random.default_rng(5), 50)
    together = Mixture(engine, op, x).run()
    for row in (0, 7, 49):
        np.testing.assert_array_equal(Mixture(engine, op, x[row : row + 1]).run()[0], together[row])


def test_no_rows_are_no_work(engine: Engine) -> None:
    assert Mixture(engine, made("q4", 1), rows_of(np.random.default_rng(0), 0)).run().shape == (0, HIDDEN)


def test_numbers_that_are_none_stay_in_their_row(engine: Engine) -> None:
    x = rows_of(np.random.default_rng(6), 5)
    sound = Mixture(engine, made("q4", 2), x).run()
    x[1, 3], x[3, 0] = np.nan, np.inf
    got = Mixture(engine, made("q4", 2), x).run()
    assert not np.isfinite(got[[1, 3]]).all(1).any()
    np.testing.assert_array_equal(got[[0, 2, 4]], sound[[0, 2, 4]])


SPOILT: list[tuple[int, str, Any]] = [
    (records.ROUTE, "routing", None),
    (records.ROUTE, "scores", records.PcpuBuffer(None, 0, 0)),
    (records.SPREAD, "experts", None),
    (records.SPREAD, "src", records.PcpuBuffer(None, 0, 0)),
    (records.SPREAD, "spread", records.PcpuBuffer(None, 0, 0)),
    (records.COMBINE, "dst", records.PcpuBuffer(None, 0, 0)),
    (records.COMBINE, "routing", None),
]


@pytest.mark.parametrize(("kind", "name", "value"), SPOILT)
def test_a_spoilt_record(any_engine: Engine, kind: int, name: str, value: Any) -> None:
    mixture = Mixture(any_engine, made("f32", 1), rows_of(np.random.default_rng(0), 4))
    (record,) = [op for k, op in mixture.h.ops if k == kind]
    setattr(record, name, value)
    with pytest.raises(EngineError, match="record"):
        mixture.run()


@pytest.mark.parametrize(("name", "value"), [("num_chosen", 8), ("num_chosen", 0), ("rows", None), ("num_active", None)])
def test_a_spoilt_routing(any_engine: Engine, name: str, value: Any) -> None:
    mixture = Mixture(any_engine, made("q4", 1), rows_of(np.random.default_rng(0), 4))
    setattr(mixture.routing, name, value)
    with pytest.raises(EngineError, match="record"):
        mixture.run()


def test_a_spoilt_expert(any_engine: Engine) -> None:
    """The last one, whose matrix has outputs that the others have not."""
    mixture = Mixture(any_engine, made("q4", 1), rows_of(np.random.default_rng(0), 4))
    (record,) = [op for k, op in mixture.h.ops if k == records.SPREAD]
    record.experts[6].gated.gate.contents.num_outputs = 71
    with pytest.raises(EngineError, match="record"):
        mixture.run()
