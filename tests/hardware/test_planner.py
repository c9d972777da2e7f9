"""The planner: the guide's table, what must grow with what, and what a person is told when it does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.cache_types import KV_TYPES, kv_types
from publican.core.errors import ModelNotFound
from publican.hardware.engines import Load
from publican.hardware.plan import Cut
from publican.hardware.planner import disk_bytes
from publican.hardware.shapes import SHAPES, shape_of
from publican.hardware.sizes import GIB
from publican.hardware.weights import described
from tests.hardware.models import machine, planner

GUIDE = [  # the table of the guide of 2023: 4-bit, group 128; its 48 GB are two cards of 24
    ("llama-2-7b", (8,), 8_192),
    ("llama-2-13b", (14,), 8_192),
    ("llama-1-33b", (24,), 3_584),
    ("codellama-34b", (24,), 16_384),
    ("llama-2-70b", (24, 24), 16_384),
]
ENGINES = st.sampled_from(["cuda", "cpu", "plain", "llama"])
NAMES = st.sampled_from(sorted(SHAPES))


@pytest.mark.parametrize(("name", "cards", "context_len"), GUIDE)
def test_the_guides_table(name, cards, context_len):
    """Both ways round: what the row's context takes is the row's memory, and what the row's cards hold is its context."""
    here = planner(name, "cuda", machine(*cards))
    plan = here.plan(Load(context_len))
    needed = sum(share.total_bytes for share in plan.shares if share.device.is_gpu)
    assert needed / 1e9 == pytest.approx(sum(cards), rel=0.10)
    assert here.longest_context(Load(1)) >= 0.90 * context_len


@given(NAMES, ENGINES, st.integers(1, 1 << 20), st.integers(1, 64), st.integers(0, 3))
def test_more_context_and_more_people_take_more(name, engine, context_len, users, kv_index):
    here = planner(name, engine, machine(24, 24))
    kv_type = KV_TYPES[engine][kv_index % len(KV_TYPES[engine])]
    load = Load(context_len, users, kv_type)

    def total(load: Load) -> int:
        needs = here.plan(load).needs
        return needs.weight_bytes + needs.kv_bytes + needs.scratch_bytes + needs.logits_bytes + needs.host_bytes

    assert total(load) <= total(replace(load, context_len=context_len + 1)) <= total(replace(load, context_len=2 * context_len))
    assert total(load) < total(replace(load, context_len=context_len + 256))
    assert total(load) < total(replace(load, num_users=users + 256))


@given(NAMES, ENGINES, st.sampled_from([32, 64, 128]))
def test_more_bits_take_more(name, engine, group_len):
    spec = SHAPES[name]
    here = planner(name, engine, machine(24))
    widths = [
        replace(here, weights=described(spec, bits, group_len)).plan(Load(2_048)).needs.weight_bytes
        for bits in (2, 3, 4, 5, 6, 8, 16)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] or engine == "plain"


@given(NAMES, ENGINES, st.lists(st.integers(4, 80), max_size=4), st.integers(8, 256), st.integers(1, 16))
def test_what_is_said_to_fit_fits_and_no_more(name, engine, cards, ram, users):
    here = planner(name, engine, machine(*cards, ram_gib=ram))
    load = Load(1, users, KV_TYPES[engine][0])
    longest = here.longest_context(load, 1 << 20)
    if longest:
        assert here.fits(replace(load, context_len=longest))
        assert here.most_users(replace(load, context_len=longest)) >= users
    if longest < 1 << 20:
        assert not here.fits(replace(load, context_len=longest + 256))


@given(NAMES, ENGINES, st.integers(1, 200), st.integers(512, 1 << 18), st.integers(1, 64))
def test_every_remedy_helps(name, engine, gib, context_len, users):
    here = planner(name, engine, machine(gib, ram_gib=gib))
    load = Load(context_len, users, KV_TYPES[engine][0])
    remedies = here.remedies(load)
    assert not (remedies and here.fits(load))
    for remedy in remedies:
        assert remedy.text
        if remedy.load != load:
            assert here.fits(remedy.load)


def test_what_a_person_is_told():
    told = [remedy.text for remedy in planner("llama-2-7b", "llama", machine(8), cut=Cut(gpu_layers=-1)).remedies(Load(8_192))]
    assert any("--kv-type q8" in text for text in told)
    assert any("--ctx 7" in text for text in told)
    assert any("3 bits a weight instead of 4.2" in text for text in told)
    assert planner("llama-2-7b", "cuda", machine(24)).remedies(Load(8_192)) == ()
    assert planner("llama-2-70b", "cuda", machine(4)).remedies(Load(8_192)) == ()


def test_eight_bit_keys_and_values_nearly_double_the_context():
    here = planner("llama-2-13b", "llama", machine(14), cut=Cut(gpu_layers=-1))
    assert 1.8 < here.longest_context(Load(1, kv_type="q8")) / here.longest_context(Load(1)) < 2.0


def test_shapes_have_names():
    assert shape_of(" Llama-2-7B ") is SHAPES["llama-2-7b"]
    with pytest.raises(ModelNotFound, match="mistral-7b"):
        shape_of("gpt-9")


def test_the_disk_takes_the_files_and_a_little():
    weights = described(SHAPES["llama-2-7b"], 4)
    assert 3.6 * GIB < disk_bytes(weights) < 4 * GIB


@given(NAMES, ENGINES, st.integers(1, 1 << 17), st.integers(1, 64))
def test_an_encoder_has_no_cache_and_works_on_a_whole_text(name, engine, context_len, users):
    here = replace(planner(name, engine, machine(24, 24)), is_encoder=True)
    plan = here.plan(load := Load(context_len, users))
    assert plan.needs.kv_bytes == 0
    assert all(share.kv_bytes == 0 for share in plan.shares)
    assert plan.needs.weight_bytes == replace(here, is_encoder=False).plan(load).needs.weight_bytes
    longer = here.plan(replace(load, context_len=2 * context_len)).needs
    assert longer.scratch_bytes > plan.needs.scratch_bytes
    assert longer.logits_bytes == 2 * plan.needs.logits_bytes == 8 * context_len * here.spec.hidden_size


@given(NAMES, ENGINES, st.integers(1, 60), st.integers(512, 1 << 18), st.sampled_from([20, 64, 80, 96, 112, 128]))
def test_no_type_is_offered_that_the_engine_would_refuse(name, engine, gib, context_len, head_dim):
    here = planner(name, engine, machine(gib, ram_gib=gib))
    here = replace(here, spec=replace(here.spec, head_dim=head_dim))
    assert here.kv_types == kv_types(engine, head_dim)
    for remedy in here.remedies(Load(context_len, 4, here.kv_types[0])):
        assert remedy.load.kv_type in here.kv_types
