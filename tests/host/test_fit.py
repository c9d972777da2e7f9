"""What is settled before loading: what is kept of a wish, what is lessened and said, and what is refused with numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import OutOfMemory, SettingsError
from publican.hardware.machine import described_machine
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB
from publican.host.choose import Chosen
from publican.host.choose_rope import RopeWish
from publican.host.fit import Decision, Fit, fit
from publican.host.fit_report import make_report
from publican.host.fit_shape import described_model
from publican.host.options import LoadOptions

CPU = Chosen("native", "cpu", "the fastest on a CPU")
CUDA = Chosen("native", "cuda", "on the NVIDIA card")
LLAMA = Chosen("llama", "auto", "asked for")


def fitted(name="llama-2-7b", chosen=CPU, gpus=(), ram_gib=64.0, **options) -> Fit:
    machine = described_machine(tuple(int(size * GIB) for size in gpus), int(ram_gib * GIB), 8)
    return fit(described_model(name, SHAPES[name], 4, 128), chosen, LoadOptions(**options), machine)


def decision(it: Fit, name: str) -> Decision:
    return next(each for each in it.decisions if each.name == name)


def test_all_fits():
    it = fitted()
    assert (it.context_len, it.num_tokens, it.kv_type) == (4_096, 4 * 4_096, "auto")
    assert it.rope is None
    assert it.plan.fits


def test_every_choice_has_a_reason_and_a_flag():
    it = fitted(chosen=LLAMA, gpus=(24, 24))
    assert [each.name for each in it.decisions] == [
        "loader",
        "context",
        "room",
        "slots",
        "cache",
        "layers",
        "positions",
        "threads",
    ]
    for each in it.decisions:
        assert each.value
        assert each.why
        assert each.flag.startswith("--")


def test_fewer_people_before_less_context():
    it = fitted(ram_gib=9.5)
    assert (it.context_len, it.num_tokens) == (4_096, 2 * 4_096)
    assert "not 4" in decision(it, "room").why


def test_less_context_is_said():
    it = fitted(ram_gib=5.5)
    assert it.context_len == it.num_tokens
    assert 512 <= it.context_len < 4_096
    assert "of 4,096" in it.why


def test_a_context_that_was_asked_for_is_kept_with_eight_bits():
    it = fitted(ram_gib=5.5, context_len=4_096)
    assert (it.context_len, it.kv_type) == (4_096, "q8")
    assert "do not fit in bf16" in decision(it, "cache").why


def test_or_refused_with_the_numbers_and_what_helps():
    with pytest.raises(OutOfMemory) as caught:
        fitted(ram_gib=5.5, context_len=4_096, kv_type="bf16")
    text = str(caught.value)
    assert "2.00 GiB for 4,096 tokens in bf16" in text
    assert "--kv-type q8" in text
    assert re.search(r"--ctx \d+", text)
    assert "GiB too much" in text or "MiB too much" in text


def test_nothing_fits():
    with pytest.raises(OutOfMemory, match=r"of weights.*bits a weight|smaller model"):
        fitted(ram_gib=2)


def test_a_card_that_is_not_free_is_not_planned_with():
    machine = described_machine((24 * GIB,), 64 * GIB, 8)
    busy = replace(machine, gpus=(replace(machine.gpus[0], free_bytes=2 * GIB),))
    model = described_model("m", SHAPES["llama-2-7b"], 4, 128)
    with pytest.raises(OutOfMemory, match=r"1\.64 GiB are free on GPU 0"):
        fit(model, CUDA, LoadOptions(), busy)
    assert fit(model, CUDA, LoadOptions(), machine).context_len == 4_096
    partly = fit(model, LLAMA, LoadOptions(num_users=1), busy)
    assert 0 < partly.gpu_layers < 32
    assert "as many as fit" in decision(partly, "layers").why


def test_layers_and_splits_for_libllama():
    assert fitted("llama-2-70b", LLAMA, (24, 24)).gpu_layers == -1
    assert fitted("llama-2-70b", LLAMA, (24, 24)).gpu_split == (41, 39)
    assert fitted("llama-2-7b", LLAMA, (12, 24)).gpu_split == (0, 32)
    assert fitted("llama-2-7b", LLAMA, (24,)).gpu_split == ()
    assert fitted("llama-2-7b", LLAMA, (24,), gpu_layers=10).gpu_layers == 10
    assert fitted("llama-2-7b", LLAMA, (24,), gpu_layers=0).gpu_layers == 0
    assert fitted("llama-2-7b", LLAMA, (24,), gpu_layers=999).gpu_layers == 999
    assert fitted("llama-2-7b", LLAMA).gpu_layers == -1  # no card seen: libllama may know others
    assert fitted("llama-2-70b", LLAMA, (24, 24), gpu_split=(14, 20)).gpu_split == (14, 20)


@pytest.mark.parametrize("chosen", [CUDA, LLAMA])
@pytest.mark.parametrize("split", [(0.0,), (0.0, 0.0), (0.0, 0.0, 20.0)])
def test_a_split_that_gives_no_card_anything_is_refused(chosen, split):
    with pytest.raises(SettingsError, match="--gpu-split gives nothing"):
        fitted(chosen=chosen, gpus=(24, 24)[: len(split)], gpu_split=split)
    assert fitted(chosen=CPU, gpus=(24, 24), gpu_split=split).plan.fits


def test_more_context_than_the_model_was_made_for():
    it = fitted(context_len=8_192)
    assert it.rope is not None
    assert (it.rope.scaling.kind, it.context_len) == ("ntk", 8_192)
    assert it.rope.scaling.alpha == pytest.approx(2.63, abs=0.01)
    assert "26,7" in decision(it, "positions").why  # the theta that this comes to


def test_scaling_without_a_length_makes_the_context_longer():
    assert fitted(rope=RopeWish(factor=2.0)).context_len == 8_192
    assert "scaling reaches" in fitted(rope=RopeWish(alpha=2.63)).why
    assert 7_936 <= fitted(rope=RopeWish(alpha=2.63)).context_len <= 8_192


@pytest.mark.parametrize(
    ("chosen", "kv_type"),
    [(CPU, "f16"), (CPU, "f32"), (Chosen("native", "plain", ""), "bf16"), (Chosen("native", "plain", ""), "f16")],
)
def test_what_an_engine_cannot_keep_is_refused(chosen, kv_type):
    with pytest.raises(SettingsError, match=f"{kv_type} was asked for"):
        fitted(chosen=chosen, gpus=(24,), kv_type=kv_type)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from([CPU, CUDA, LLAMA]),
    st.lists(st.integers(2, 80), max_size=3),
    st.integers(2, 256),
    st.one_of(st.none(), st.integers(64, 300_000)),
    st.integers(1, 16),
)
def test_what_is_planned_is_within_what_is_free(name, chosen, gpus, ram, context_len, users):
    if chosen is CUDA and not gpus:
        gpus = [24]
    try:
        it = fitted(name, chosen, tuple(gpus), ram, context_len=context_len, num_users=users)
    except OutOfMemory:
        return
    assert it.plan.fits
    assert it.context_len == context_len or (context_len is None and it.context_len <= SHAPES[name].context_len)
    assert it.context_len <= it.num_tokens <= it.context_len * users


@pytest.mark.parametrize(
    ("asked", "context_len", "why"), [(None, 4_096, "made for"), (512, 512, "asked for"), (8_192, 4_096, "not 8,192")]
)
def test_an_encoder_keeps_nothing_and_reaches_no_further_than_it_does(asked, context_len, why):
    model = replace(described_model("m", SHAPES["llama-2-7b"], 4, 128), is_encoder=True)
    here, options = described_machine((), 64 * GIB, 8), LoadOptions(context_len=asked, kv_type="q8", num_users=9)
    it = fit(model, LLAMA, options, here)
    assert (it.context_len, it.num_tokens, it.kv_type, it.rope) == (context_len, context_len, "auto", None)
    assert it.plan.needs.kv_bytes == 0
    assert why in it.why
    assert decision(it, "cache").value == "none"
    assert {"room", "positions"}.isdisjoint(each.name for each in it.decisions)
    report = make_report(model, LLAMA, options, here)
    assert report.fits
    assert report.limits == ()
    assert (report.plan.load, report.wanted.load) == (it.plan.load, it.plan.load)


def test_a_cache_that_the_backend_cannot_keep_is_refused_before_loading():
    spec = replace(SHAPES["llama-2-7b"], head_dim=80)
    model, here = described_model("m", spec, 4, 128), described_machine((24 * GIB,), 64 * GIB, 8)
    with pytest.raises(SettingsError, match="heads of 80 numbers"):
        fit(model, CUDA, LoadOptions(kv_type="q4"), here)
    assert fit(model, CPU, LoadOptions(kv_type="q4"), here).kv_type == "q4"
    assert [each.kv_type for each in make_report(model, CUDA, LoadOptions(), here).limits] == ["bf16", "q8"]
    assert [each.kv_type for each in make_report(model, CPU, LoadOptions(), here).limits] == ["bf16", "q8", "q4"]
    small = described_machine((int(4.5 * GIB),), 64 * GIB, 8)
    with pytest.raises(OutOfMemory):  # and not eight bits, which libllama would not take
        fit(model, LLAMA, LoadOptions(context_len=16_384, num_users=1, gpu_layers=-1), small)


def test_slots_are_computed_unless_they_are_asked_for():
    few = fitted(ram_gib=16)
    assert few.num_slots < 32
    assert "8 cores give each of them about" in decision(few, "slots").why
    assert few.plan.load.num_logits == 2 * few.num_slots
    asked = fitted(ram_gib=16, max_running=48)
    assert (asked.num_slots, asked.plan.load.num_logits) == (48, 96)
    assert "asked for" in decision(asked, "slots").why
    many = fitted(chosen=CUDA, gpus=(24,))
    assert (many.num_slots, many.plan.load.num_logits) == (64, 128)
    assert many.plan.fits
    assert fitted(ram_gib=64, num_users=100, context_len=512).num_slots == 100


@given(st.sampled_from(["llama-2-7b", "llama-3-8b", "mixtral-8x7b"]), st.integers(4, 60), st.sampled_from([CPU, CUDA, LLAMA]))
def test_what_is_settled_fits_with_its_slots(name, gib, chosen):
    try:
        it = fitted(name, chosen, gpus=(gib,), ram_gib=gib)
    except OutOfMemory:
        return
    assert it.plan.fits
    assert it.plan.load.num_logits >= 2 * it.num_slots
