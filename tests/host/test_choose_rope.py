"""Which positions a context gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import SettingsError
from publican.core.model import RopeScaling
from publican.hardware.shapes import SHAPES
from publican.host.choose_rope import ChosenRope, RopeWish, auto_alpha, choose_rope, own_reach, reach_of_alpha

LLAMA = SHAPES["llama-2-7b"]
NONE = RopeWish()


def with_scaling(scaling: RopeScaling, context_len: int = 4_096):
    return replace(LLAMA, context_len=context_len, rope=replace(LLAMA.rope, scaling=scaling))


def chosen(wanted: int | None = None, spec=LLAMA, **wish) -> ChosenRope:
    return choose_rope(spec, wanted, RopeWish(**wish))


@pytest.mark.parametrize(
    ("ratio", "alpha"), [(0.5, 1), (1, 1), (1.25, 1.32), (1.5, 1.72), (2, 2.63), (3, 4.88), (4, 7.70), (8, 24.8)]
)
def test_alpha_by_length(ratio, alpha):
    """The published fit's own values; 2.6 for twice the length is what people set by hand in 2023."""
    assert auto_alpha(ratio) == pytest.approx(alpha, rel=0.005)


@given(st.floats(1.05, 50))
def test_alpha_and_length_are_each_others_inverse(ratio):
    assert reach_of_alpha(auto_alpha(ratio)) == pytest.approx(max(1.0, ratio), rel=0.06)


def test_within_the_models_reach_nothing_changes():
    for wanted in (None, 100, 4_096):
        assert chosen(wanted) == ChosenRope(None, 4_096, "the model's own positions")


def test_beyond_it_ntk_by_length():
    it = chosen(8_192)
    assert it.rope.scaling == RopeScaling("ntk", alpha=auto_alpha(2))
    assert it.reach_len == 8_192
    assert "theta 26,7" in it.why
    assert "suffer" not in it.why
    assert "yarn" in chosen(40_000).why


def test_yarns_own_length_is_often_not_stated():
    """Qwen 2.5 with YaRN: max_position_embeddings says 32k, and four times that is meant."""
    spec = with_scaling(RopeScaling("yarn", 4.0, original_context_len=32_768), 32_768)
    assert own_reach(spec) == 131_072
    assert chosen(100_000, spec).rope is None
    grown = chosen(262_144, spec).rope.scaling
    assert (grown.kind, grown.factor, grown.original_context_len) == ("yarn", 8.0, 32_768)


def test_a_models_own_method_goes_on():
    llama3 = with_scaling(RopeScaling("llama3", 8.0, original_context_len=8_192), 131_072)
    assert chosen(131_072, llama3).rope is None
    assert chosen(262_144, llama3).rope.scaling.factor == 16.0
    assert chosen(1_000_000, with_scaling(RopeScaling("dynamic", 2.0))).rope is None


def test_longrope_has_fixed_factors_and_theta_on_top():
    factors = tuple(float(i + 1) for i in range(64))
    spec = with_scaling(RopeScaling("longrope", 32.0, short_factors=factors, long_factors=factors), 131_072)
    rope = chosen(262_144, spec).rope
    assert rope.scaling == spec.rope.scaling
    assert rope.theta > spec.rope.theta


def test_by_hand():
    assert chosen(8_192, alpha=2.6).rope.scaling == RopeScaling("ntk", alpha=2.6)
    assert chosen(8_192, factor=2.0).rope.scaling == RopeScaling("linear", 2.0, original_context_len=4_096)
    assert chosen(8_192, scaling="linear").rope.scaling.factor == 2.0
    assert chosen(8_192, scaling="yarn").rope.scaling == RopeScaling("yarn", 2.0, original_context_len=4_096)
    assert chosen(8_192, scaling="ntk").rope.scaling.alpha == auto_alpha(2)
    assert chosen(8_192, scaling="dynamic").rope.scaling == RopeScaling("ntk", alpha=3.0)
    assert chosen(8_192, scaling="dynamic", factor=2.6).rope.scaling.alpha == pytest.approx(3.6)  # TGI's, at full length
    both = chosen(8_192, factor=2.0, alpha=1.5).rope
    assert both.scaling.kind == "linear"
    assert both.theta > 10_000


def test_alpha_upon_a_models_own_scaling_changes_theta_only():
    spec = with_scaling(RopeScaling("llama3", 8.0, original_context_len=8_192), 131_072)
    rope = chosen(None, spec, alpha=2.0).rope
    assert rope.scaling == spec.rope.scaling
    assert rope.theta == pytest.approx(10_000 * 2 ** (128 / 126))


def test_how_far_a_wish_reaches():
    assert chosen(factor=4.0).reach_len == 16_384
    assert chosen(scaling="yarn", factor=1.5).reach_len == 6_144
    assert chosen(alpha=1.0).reach_len == 4_096


@pytest.mark.parametrize(
    "wish", [{"scaling": "ntk"}, {"scaling": "yarn"}, {"scaling": "ntk", "factor": 2.0}, {"scaling": "dynamic", "alpha": 2.0}]
)
def test_wishes_that_contradict_themselves(wish):
    with pytest.raises(SettingsError, match="--"):
        chosen(None, **wish)


@given(
    st.one_of(st.none(), st.integers(64, 1 << 22)),
    st.one_of(st.none(), st.floats(1, 1000)),
    st.one_of(st.none(), st.floats(1, 1000)),
    st.sampled_from([None, "linear", "dynamic", "ntk", "yarn"]),
    st.sampled_from(["none", "linear", "dynamic", "yarn", "llama3"]),
)
def test_whatever_is_wished_for_is_a_rope_or_a_sentence(wanted, alpha, factor, scaling, own):
    try:
        it = choose_rope(
            with_scaling(RopeScaling(own, 2.0, original_context_len=2_048)), wanted, RopeWish(alpha, factor, scaling)
        )
    except SettingsError:
        return
    assert it.why
    assert wanted is None or wanted <= it.reach_len
    if it.rope is not None:
        assert it.rope.theta >= 10_000
        assert it.rope.scaling.factor >= 1
        assert it.rope.scaling.alpha >= 1
