"""How many answers at once: never fewer with more cores, more memory or a smaller model, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.cache_types import EngineName
from publican.hardware.engines import Load
from publican.hardware.shapes import SHAPES
from publican.hardware.slots import FEWEST_SLOTS, USUAL_SLOTS, Slots, choose_slots, computed_weights
from publican.hardware.weights import described
from tests.hardware.models import machine, planner

NAMES = st.sampled_from(sorted(SHAPES))


def chosen(
    name: str,
    engine: EngineName,
    cards: tuple[float, ...] = (),
    num_cores: int = 8,
    num_users: int = 4,
    load: Load | None = None,
    bits: float = 4,
) -> Slots:
    here = planner(name, engine, machine(*cards), bits)
    plan = here.plan(load or Load(4_096, 4))
    return choose_slots(here, plan, num_users, num_cores, is_lessened=not plan.fits)


def test_a_large_model_on_few_cores_gets_few():
    slots = chosen("llama-2-7b", "cpu", num_cores=2)
    assert slots.count == FEWEST_SLOTS
    assert slots.why == "2 cores give each of them about 1.5 tokens a second; the others wait"
    assert FEWEST_SLOTS < chosen("llama-2-7b", "cpu", num_cores=8).count < USUAL_SLOTS
    assert chosen("llama-2-7b", "cpu", num_cores=64).count == USUAL_SLOTS
    assert chosen("llama-2-7b", "llama", num_cores=8).count < chosen("llama-2-7b", "cpu", num_cores=8).count
    assert "less than 0.1 tokens" in chosen("llama-2-70b", "plain", num_cores=1).why


def test_a_mixture_counts_by_what_a_token_takes():
    dense, mixture = chosen("qwen2.5-32b", "cpu"), chosen("qwen3-30b-a3b", "cpu")
    assert dense.count == FEWEST_SLOTS
    assert mixture.count == USUAL_SLOTS


def test_cards_carry_more_where_they_have_memory_left():
    slots = chosen("llama-2-7b", "cuda", (24,))
    assert slots.count == 64
    assert "GiB of the GPUs are left" in slots.why
    assert chosen("llama-2-7b", "cuda", (13,)).count == USUAL_SLOTS
    assert chosen("llama-2-7b", "cuda", (8,)).count == USUAL_SLOTS


def test_layers_in_main_memory_are_computed_by_cores():
    here = planner("llama-2-13b", "llama", machine(6))
    plan = here.plan(Load(4_096, 1))
    assert 0 < plan.gpu_layers < 40
    spec, weights = here.spec, here.weights
    partly = computed_weights(spec, weights, plan)
    everything = computed_weights(spec, weights, planner("llama-2-13b", "llama", machine()).plan(Load(4_096, 1)))
    nothing = computed_weights(spec, weights, planner("llama-2-13b", "llama", machine(80)).plan(Load(4_096, 1)))
    assert nothing == 0 < partly < everything == pytest.approx(13.0e9, rel=0.02)
    assert computed_weights(spec, described(spec, 8), plan) == partly


def test_little_room_and_many_users():
    assert chosen("llama-2-7b", "cuda", (24,), load=Load(1_024, 2)) == Slots(
        16, "there is room for 2,048 tokens; the others wait"
    )
    assert chosen("llama-2-7b", "cuda", (24,), load=Load(512, 1)).count == FEWEST_SLOTS
    assert chosen("llama-2-7b", "cpu", num_cores=2, num_users=20) == Slots(20, "one for each user")
    assert chosen("llama-2-7b", "cpu", num_users=500) == Slots(256, "no more can be computed at once; the others wait")


@given(NAMES, st.sampled_from(["cuda", "cpu", "plain", "llama"]), st.integers(1, 64), st.integers(1, 20), st.integers(1, 80))
def test_more_of_the_machine_is_never_fewer_and_more_of_the_model_never_more(name, engine, num_cores, users, gib):
    load = Load(2_048, users)
    slots = chosen(name, engine, (gib,), num_cores, users, load)
    assert slots.why
    assert max(FEWEST_SLOTS, users) <= slots.count <= 64
    assert slots.count <= chosen(name, engine, (gib,), num_cores + 1, users, load).count
    assert slots.count <= chosen(name, engine, (gib + 1,), num_cores, users, load).count
    assert slots.count <= chosen(name, engine, (gib,), num_cores, users + 1, replace(load, num_users=users + 1)).count or (
        engine in ("cuda", "llama")  # what another user takes is not left
    )
    assert slots.count >= chosen(name, engine, (gib,), num_cores, users, load, bits=8).count
