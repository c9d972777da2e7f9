"""What is wrong becomes an error code, never a crash: batches, records and matrices, each spoilt in one place."""

from __future__ import annotations

import threading
from ctypes import byref, pointer
from typing import Any

import numpy as np
import pytest

from publican.core.errors import EngineError
from publican.executors.native.cpu import records
from publican.executors.native.cpu.library import Engine
from tests.executors.native.cpu.harness import Harness, make_batch, random_quantised, shape_program

ROWS = 6


def small_model(engine: Engine) -> Harness:
    """Embed, store, attend, final norm and logits of one layer: one head of 32, one of KV."""
    h = Harness(engine, {"x": 96, "out": 32}, ROWS, shape_program(1, 1, 32), num_pages=4)
    table = h.packer.pack(random_quantised(np.random.default_rng(0), 20, [(4, 32, 96)]))
    head = h.packer.pack(random_quantised(np.random.default_rng(1), 20, [(4, 32, 32)]))
    cos = np.ones((40, 16), np.float32)
    h.add(records.EMBED, records.PcpuEmbed(dst=h.buffers["x"], table=pointer(table.record), num_tokens=20, scale=1.0))
    store = records.PcpuStoreKV(src=h.buffers["x"], rope_half=16, context_len=40, num_heads=1)
    store.cos = store.sin = h.buffers.keep(cos)
    h.add(records.STORE_KV, store)
    h.add(records.ATTEND, records.PcpuAttend(src=h.buffers["x"], dst=h.buffers["out"], num_heads=1, scale=1.0))
    form = h.form("out", (records.INT8, 32, None))
    weight = h.buffers.keep(np.ones(32, np.float32))
    norm = records.PcpuNorm(h.buffers["out"], h.buffers["out"], weight, 1e-5, 1, h.buffers.form_list([form]))
    h.add(records.FINAL_NORM, norm)
    part = records.PcpuPart(matrix=pointer(head.record), x=form, src=h.buffers["out"], scale=1.0)
    h.add(records.LINEAR, records.PcpuLinear((records.PcpuPart * 1)(part), 1, 1, 0.0))
    h.keep = [table, head]  # type: ignore[attr-defined]
    return h


def good_batch() -> dict[str, Any]:
    counts, past = np.array([4, 2], np.int32), np.array([0, 17], np.int32)
    batch = make_batch(counts, past, np.array([[0, 0], [1, 2]], np.int32))
    batch["logit_rows"] = np.array([3, 5], np.int32)
    batch["logits"] = np.zeros((2, 20), np.float32)
    batch["logits_stride"] = 20
    return batch


def test_the_good_one_runs(any_engine: Engine) -> None:
    batch = good_batch()
    small_model(any_engine).run_batch(batch, max_logits=2)
    assert batch["logits"].any()


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("tokens", 0, -1),
        ("tokens", 5, 20),
        ("positions", 2, 3),
        ("positions", 0, -1),
        ("positions", 5, 1 << 30),
        ("owners", 4, 0),
        ("owners", 0, 2),
        ("owners", 0, -1),
        ("starts", 1, 3),
        ("lengths", 1, 3),
        ("lengths", 0, 0),
        ("lengths", 1, 1),
        ("past", 0, -1),
        ("past", 1, 31),
        ("past", 1, 2**31 - 1),
        ("pages", (1, 1), 4),
        ("pages", (0, 0), -1),
        ("logit_rows", 0, 6),
        ("logit_rows", 1, -1),
        ("logits_stride", None, 19),
    ],
)
def test_a_spoilt_batch(any_engine: Engine, name: str, index: Any, value: int) -> None:
    batch = good_batch()
    if index is None:
        batch[name] = value
    else:
        batch[name][index] = value
    with pytest.raises(EngineError, match="batch is not sound"):
        small_model(any_engine).run_batch(batch, max_logits=2)


def test_more_than_there_is_room_for(any_engine: Engine) -> None:
    h = small_model(any_engine)
    with pytest.raises(EngineError, match="batch"):
        h.run_batch(good_batch(), max_logits=1)
    h.rows = 5
    with pytest.raises(EngineError, match="batch"):
        h.run_batch(good_batch(), max_logits=2)


def test_a_position_beyond_the_rope_table(any_engine: Engine) -> None:
    h = small_model(any_engine)
    h.ops[1][1].context_len = 18
    with pytest.raises(EngineError, match="batch"):
        h.run_batch(good_batch(), max_logits=2)


SPOILT: list[tuple[int, str, Any]] = [
    (0, "num_tokens", 21),
    (0, "num_tokens", 0),
    (0, "table", None),
    (1, "layer", 1),
    (1, "layer", -1),
    (1, "num_heads", 2),
    (1, "sin", None),
    (1, "rope_half", 17),
    (2, "layer", 7),
    (2, "num_heads", 0),
    (2, "window", -1),
    (2, "dst", records.PcpuBuffer(None, 0, 0)),
    (3, "weight", None),
    (3, "num_forms", -1),
    (3, "forms", None),
    (4, "parts", None),
    (4, "num_parts", 0),
]


@pytest.mark.parametrize(("op", "name", "value"), SPOILT)
def test_a_spoilt_record(any_engine: Engine, op: int, name: str, value: Any) -> None:
    h = small_model(any_engine)
    setattr(h.ops[op][1], name, value)
    with pytest.raises(EngineError, match="record"):
        h.run_batch(good_batch(), max_logits=2)


@pytest.mark.parametrize("kind", [-1, records.SHRINK + 1, 1 << 20])
def test_an_unknown_kind(any_engine: Engine, kind: int) -> None:
    h = small_model(any_engine)
    h.ops.append((kind, h.ops[0][1]))
    with pytest.raises(EngineError, match="record"):
        h.run_batch(good_batch(), max_logits=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("block_len", 8), ("blocks_per_group", 0), ("num_blocks", 99), ("panel_bytes", 1), ("storage", 9), ("first_input", 16)],
)
def test_a_spoilt_matrix(any_engine: Engine, name: str, value: int) -> None:
    h = small_model(any_engine)
    setattr(h.ops[0][1].table.contents.segments[0], name, value)
    with pytest.raises(EngineError, match="record"):
        h.run_batch(good_batch(), max_logits=2)


def test_a_form_of_another_width(any_engine: Engine) -> None:
    h = small_model(any_engine)
    h.ops[4][1].parts[0].x.contents.width = 64
    with pytest.raises(EngineError, match="record"):
        h.run_batch(good_batch(), max_logits=2)


@pytest.mark.parametrize("field", ["num_pages", "page_len", "head_dim", "num_kv_heads", "num_layers", "page_bytes", "data"])
def test_a_spoilt_cache(any_engine: Engine, field: str) -> None:
    h = small_model(any_engine)
    place = h.cache.record.pools[0] if hasattr(h.cache.record.pools[0], field) else h.cache.record
    setattr(place, field, 300 if field == "head_dim" else 0)
    with pytest.raises(EngineError):
        h.run_batch(good_batch(), max_logits=2)


@pytest.mark.parametrize(
    ("name", "value"), [("group_len", 0), ("num_inputs", 97), ("row_stride", 95), ("scale_stride", 2), ("values", None)]
)
def test_packing_what_does_not_fit(any_engine: Engine, name: str, value: Any) -> None:
    codes, scales = np.zeros((16, 96), np.uint8), np.zeros((16, 3), np.float32)
    address = scales.ctypes.data
    source = records.PcpuSource(codes.ctypes.data, 96, address, address, 3, 16, 96, 32)
    segment = records.PcpuSegment(storage=0, block_len=32, blocks_per_group=1, num_blocks=3)
    segment.panel_bytes = any_engine.panel_bytes(segment)
    memory = np.zeros(segment.panel_bytes, np.uint8)
    segment.data = memory.ctypes.data
    any_engine.pack(source, segment)
    setattr(source, name, value)
    with pytest.raises(EngineError, match="packed"):
        any_engine.pack(source, segment)


def test_one_thread_at_a_time(library: Any) -> None:
    """A second thread is refused, not let in, and the first one's results stand."""
    engine = Engine(library, 1)
    logits = np.random.default_rng(0).standard_normal((64, 200_000)).astype(np.float32)
    refusals: list[str] = []
    done = threading.Event()

    def other() -> None:
        while not done.is_set():
            try:
                engine.top(logits[:1, :10], 1)
            except EngineError as error:
                refusals.append(str(error))
                done.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    try:
        for _ in range(500):
            if done.is_set():
                break
            try:
                assert (engine.top(logits, 1)[0][:, 0] == logits.argmax(1)).all()
            except EngineError as error:
                refusals.append(str(error))
    finally:
        done.set()
        thread.join(60)
    engine.close()
    assert refusals
    assert all("another thread" in text for text in refusals)


def test_threads_that_cannot_be(library: Any) -> None:
    for count in (0, -1, 100_000):
        with pytest.raises(EngineError, match="threads"):
            Engine(library, count)


def test_sizes_are_those_of_c(library: Any) -> None:
    for structure in records.STRUCTURES:
        assert library.pcpu_sizeof(structure.__name__.encode()) == len(bytes(structure()))
    assert library.pcpu_sizeof(b"Unknown") == -1
    assert (
        library.pcpu_panel_bytes(byref(records.PcpuSegment(storage=0, block_len=32, blocks_per_group=2, num_blocks=3))) == 896
    )
