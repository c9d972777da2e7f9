"""Dividing layers among devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.executors.native.cuda.placement import Placement
from publican.hardware.engines import Load
from publican.hardware.machine import described_machine, read_machine
from publican.hardware.plan import Cut, Devices, without
from publican.hardware.planner import Planner
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB
from publican.hardware.weights import described
from tests.hardware.fake_nvml import Card, FakeNvml
from tests.hardware.models import machine, planner


def layers(plan) -> list[int]:
    return [share.num_layers for share in plan.shares]


def test_one_card_is_enough():
    """The roomier one alone, for libllama, which can be told so: more cards are slower."""
    assert layers(planner("llama-2-7b", "cuda", machine(24, 24)).plan(Load(4_096))) == [32, 0]
    plan = planner("llama-2-7b", "llama", machine(12, 24)).plan(Load(4_096))
    assert layers(plan) == [32, 0]
    assert plan.shares[0].device.total_bytes == 24 * GIB
    assert plan.fits


def test_native_fills_one_card_after_another():
    plan = planner("llama-2-70b", "cuda", machine(24, 24)).plan(Load(16_384))
    first, second, _ = plan.shares
    assert plan.fits
    assert 0 <= first.room_bytes < max(plan.needs.layer_bytes) + max(plan.needs.layer_kv_bytes) < second.room_bytes


@given(
    st.lists(st.booleans(), min_size=24, max_size=24).filter(any),
    st.integers(2_000, 60_000),
    st.lists(st.floats(3, 12), min_size=2, max_size=4),
)
def test_native_divides_layers_with_windows_as_its_executor_does(windowed, context_len, cards):
    """By what each keeps: `Placement` of the cuda backend, given the same room, puts every layer on the same card."""
    spec = replace(SHAPES["llama-3-8b"], num_layers=24, sliding_window=1024, windowed=tuple(windowed))
    plan = Planner("cuda", spec, described(spec, 4), machine(*cards)).plan(Load(context_len, 2))
    if not plan.fits:
        return
    needs, shares = plan.needs, plan.shares[:-1]
    rooms = [s.device.free_bytes - s.device.reserve_bytes - s.scratch_bytes - s.overhead_bytes for s in shares]
    placement = Placement([*rooms[:-1], 1 << 60], needs.layer_kv_bytes, False)  # nothing comes after the last card
    placement.take(needs.embedding_bytes)
    found = [0] * len(shares)
    for size in needs.layer_bytes:
        found[placement.open_layer(max(needs.layer_bytes))] += 1
        placement.take(size)
    assert found == layers(plan)[: len(shares)]


def test_windows_make_room_on_one_card():
    """Gemma 3's shape, five windows to one whole context: 64k tokens beside a third of what keeping everything would take."""
    spec = replace(SHAPES["llama-3-8b"], num_layers=48, sliding_window=1024, windowed=(True,) * 5 + (False,))
    spec = replace(spec, windowed=spec.windowed * 8)
    planned = Planner("cuda", spec, described(spec, 4), machine(16)).plan(Load(65_536))
    assert planned.fits
    assert planned.needs.kv_bytes == 2 * 8 * 128 * 2 * (8 * 65_536 + 40 * (1024 + 64 + 512 + 32))
    everything = Planner("cuda", replace(spec, sliding_window=0), described(spec, 4), machine(16)).plan(Load(65_536))
    assert not everything.fits


def test_two_cards_end_up_equally_full():
    plan = planner("llama-2-70b", "llama", machine(24, 24)).plan(Load(16_384))
    assert sum(layers(plan)) == 80
    first, second, _ = plan.shares
    assert abs(first.room_bytes - second.room_bytes) < GIB
    assert plan.output_on_gpu


def test_an_unequal_pair():
    plan = planner("llama-2-13b", "llama", machine(8, 12)).plan(Load(8_192))
    assert plan.fits
    small, large = layers(plan)[:2]
    assert small < large


def test_a_split_by_hand():
    """The guide's "14,20" on two cards of 24 GB."""
    shared = planner("llama-2-70b", "llama", machine(24, 24), cut=Cut(split=(14, 20))).plan(Load(4_096))
    assert layers(shared)[:2] == [33, 47]
    filled = planner("llama-2-70b", "cuda", machine(24, 24), cut=Cut(split=(14, 23))).plan(Load(4_096))
    first = filled.shares[0]
    assert 13 * GIB < first.weight_bytes + first.kv_bytes <= 14 * GIB
    one = planner("llama-2-7b", "cuda", machine(24, 24), cut=Cut(split=(0, 1))).plan(Load(4_096))
    assert layers(one)[0] == 32
    assert one.shares[0].device.name.startswith("GPU 1")


def test_libllama_leaves_in_memory_what_is_too_much():
    plan = planner("llama-2-70b", "llama", machine(24, ram_gib=64)).plan(Load(4_096))
    gpu, memory = plan.shares
    assert plan.fits
    assert not plan.output_on_gpu
    assert 0 < gpu.num_layers < 80
    assert gpu.num_layers + memory.num_layers == 80
    assert gpu.room_bytes < max(plan.needs.layer_bytes) + max(plan.needs.layer_kv_bytes)  # not one more


def test_native_cannot_and_says_by_how_much():
    plan = planner("llama-2-70b", "cuda", machine(24, ram_gib=512)).plan(Load(4_096))
    assert not plan.fits
    assert plan.missing_bytes == pytest.approx(12.5 * GIB, rel=0.1)


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (10, 10), (32, 32), (33, 32), (999, 32), (-1, 32), (None, 32)])
def test_layers_by_hand(asked, got):
    plan = planner("llama-2-7b", "llama", machine(24), cut=Cut(gpu_layers=asked)).plan(Load(4_096))
    assert plan.gpu_layers == got
    assert plan.output_on_gpu == (got == 32)


def test_layers_by_hand_are_not_lessened_in_silence():
    assert not planner("llama-2-70b", "llama", machine(24), cut=Cut(gpu_layers=-1)).plan(Load(4_096)).fits


@given(
    st.sampled_from(["llama-2-7b", "llama-2-70b"]),
    st.sampled_from(["cuda", "llama", "cpu"]),
    st.lists(st.integers(1, 80), max_size=4),
    st.one_of(st.none(), st.integers(-1, 100)),
)
def test_nothing_is_lost_or_doubled(name, engine, cards, gpu_layers):
    plan = planner(name, engine, machine(*cards), cut=Cut(gpu_layers)).plan(Load(2_048, 2))
    needs = plan.needs
    assert sum(layers(plan)) == len(needs.layer_bytes)
    assert sum(share.weight_bytes for share in plan.shares) == needs.weight_bytes
    assert sum(share.kv_bytes for share in plan.shares) == needs.kv_bytes
    assert plan.total_bytes >= needs.weight_bytes + needs.kv_bytes + needs.logits_bytes + needs.host_bytes
    assert plan.fits == (plan.missing_bytes == 0)
    assert 0 < plan.host_loaded_bytes + plan.gpu_loaded_bytes <= plan.total_bytes


@pytest.mark.parametrize("gpu_layers", [None, 0, 10])
def test_one_memory_for_both_counts_once(gpu_layers):
    """GPU and processor share a memory: everything lies in it, the process too."""
    devices = Devices.of(read_machine(nvml=FakeNvml(Card("NVIDIA GB10", None))))
    assert devices.ram is None
    spec = SHAPES["llama-2-7b"]
    plan = Planner("llama", spec, described(spec, 4), devices, Cut(gpu_layers)).plan(Load(2_048))
    assert len(plan.shares) == 1
    assert plan.shares[0].num_layers == 32
    assert plan.shares[0].weight_bytes == plan.needs.weight_bytes


def test_a_machine_without_a_model_that_is_loaded():
    """Loading takes memory, and its going gives as much back; never more than there is."""
    here = described_machine((24 * GIB, 24 * GIB), 64 * GIB, 8)
    plan = planner("llama-2-13b", "llama", Devices.of(here)).plan(Load(4_096))
    held = [share.weight_bytes + share.kv_bytes + share.overhead_bytes for share in plan.shares if share.device.is_gpu]
    gpus = tuple(replace(gpu, free_bytes=gpu.free_bytes - (held[0] if gpu.index == 0 else 0)) for gpu in here.gpus)
    loaded = replace(here, available_bytes=here.available_bytes - plan.host_loaded_bytes, gpus=gpus)
    assert without(loaded, plan) == here
    assert without(here, plan) == here
