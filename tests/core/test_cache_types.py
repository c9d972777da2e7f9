"""What can be kept as what: every engine has a choice of its own for every head, and what it cannot keep is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.cache_types import KV_TYPES, check_kv_type, kv_types
from publican.core.errors import SettingsError

ENGINES = st.sampled_from(sorted(KV_TYPES))


@given(ENGINES, st.integers(1, 1_024))
def test_what_is_listed_is_taken_and_the_rest_is_refused(engine, head_dim):
    types = kv_types(engine, head_dim)
    assert types[0] == KV_TYPES[engine][0]
    check_kv_type(engine, head_dim, "auto")
    for kv_type in ("f32", "f16", "bf16", "q8", "q4"):
        if kv_type in types:
            check_kv_type(engine, head_dim, kv_type)
        else:
            with pytest.raises(SettingsError, match=kv_type):
                check_kv_type(engine, head_dim, kv_type)


@pytest.mark.parametrize(
    ("engine", "head_dim", "kv_type", "said"),
    [
        ("cuda", 80, "q4", "The cuda backend keeps heads of 80 numbers in bf16, f16, f32 or q8, and q4 was asked for"),
        ("llama", 80, "q8", "The llama loader keeps heads of 80 numbers in f16, bf16 or f32, and q8 was asked for"),
        ("cpu", 64, "f32", "The cpu backend keeps its cache in bf16, q8 or q4, and f32 was asked for"),
    ],
)
def test_what_is_said(engine, head_dim, kv_type, said):
    with pytest.raises(SettingsError, match=said):
        check_kv_type(engine, head_dim, kv_type)
