"""What callers ask for at loading, by the names of several years."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import InvalidParameter
from publican.host.asked_options import with_asked
from publican.host.choose_rope import RopeWish
from publican.host.options import LoadOptions

OWN = LoadOptions(context_len=4_096, gpu_split=(1.0, 2.0))


@pytest.mark.parametrize("name", ["context_len", "ctx_size", "n_ctx", "max_seq_len"])
def test_the_context(name):
    assert with_asked(OWN, {name: 8_192}).context_len == 8_192


def test_a_form_of_2023():
    """As text-generation-webui's API took it for ExLlama and llama.cpp, sliders that were left alone included."""
    form = {
        "loader": "ExLlamav2_HF",
        "max_seq_len": 8_192,
        "alpha_value": 2.6,
        "compress_pos_emb": 1,
        "gpu_split": "14,20",
        "n_gpu_layers": 40,
        "cache_type": "q8_0",
        "cfg_cache": False,
    }
    it = with_asked(OWN, form)
    assert (it.context_len, it.rope, it.gpu_split) == (8_192, RopeWish(alpha=2.6), (14.0, 20.0))
    assert (it.gpu_layers, it.kv_type) == (40, "q8")


def test_what_says_nothing():
    silent = {"n_ctx": 0, "alpha_value": 1, "compress_pos_emb": 1.0, "gpu_split": "", "cache_type": None, "n_gpu_layers": None}
    assert with_asked(OWN, silent) == OWN
    assert with_asked(OWN, {"gpu_split": "auto", "temperature": 1, "gpu_layers": ""}) == OWN
    assert with_asked(OWN, {}) == OWN
    assert with_asked(OWN, {"cache_type": "fp16"}).kv_type == "auto"


def test_numbers_of_layers():
    assert with_asked(OWN, {"n_gpu_layers": 0}).gpu_layers == 0
    assert with_asked(OWN, {"gpu_layers": -1}).gpu_layers == -1
    assert with_asked(OWN, {"gpu_split": [20, 24]}).gpu_split == (20.0, 24.0)


@pytest.mark.parametrize(
    "asked",
    [
        {"n_ctx": True},
        {"n_ctx": 8.5},
        {"n_ctx": "many"},
        {"n_ctx": 10},
        {"ctx_size": 1 << 40},
        {"alpha_value": float("nan")},
        {"alpha_value": float("inf")},
        {"compress_pos_emb": -1},
        {"gpu_split": "a,b"},
        {"gpu_split": {"a": 1}},
        {"gpu_split": 5},
        {"gpu_split": ",".join(["1"] * 40)},
        {"gpu_split": [float("nan")]},
        {"cache_type": "q9"},
        {"cache_type": ["q8"]},
        {"n_gpu_layers": 1e300},
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(asked):
    with pytest.raises(InvalidParameter, match=next(iter(asked))):
        with_asked(OWN, asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(["n_ctx", "alpha_value", "compress_pos_emb", "gpu_split", "cache_type", "gpu_layers", "x"])


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_comes_is_options_or_a_refusal(asked):
    try:
        it = with_asked(OWN, asked)
    except InvalidParameter:
        return
    assert 64 <= (it.context_len or 0) <= 1 << 24
    assert it.rope.alpha is None or 1 <= it.rope.alpha <= 1_000
