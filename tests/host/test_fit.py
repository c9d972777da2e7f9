import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import OutOfMemory
from publican.core.model import ModelSpec, Rope
from publican.host.fit import fit, kv_bytes_per_token

SPEC = ModelSpec("llama", 32, 4096, 11008, 32, 32, 128, 32000, 4096, 1e-5, Rope(10000.0, 128))
GIB = 1 << 30


def test_the_kv_cache_of_llama_7b():
    assert kv_bytes_per_token(SPEC, 2) == 512 * 1024


def test_all_fits():
    it = fit(SPEC, 4 * GIB, 2, 64 * GIB, None, 4)
    assert (it.context_len, it.num_tokens) == (4096, 4 * 4096)


def test_fewer_users_before_less_context():
    it = fit(SPEC, 4 * GIB, 2, 12 * GIB, None, 4)
    assert (it.context_len, it.num_tokens) == (4096, 2 * 4096)
    assert "not 4" in it.why


def test_less_context_is_said():
    it = fit(SPEC, 4 * GIB, 2, 6 * GIB, None, 4)
    assert it.context_len == it.num_tokens < 4096
    assert "4,096" in it.why


def test_nothing_fits():
    with pytest.raises(OutOfMemory, match="4,096 MiB"):
        fit(SPEC, 4 * GIB, 2, 5 * GIB, None, 1)


@given(st.integers(5, 200), st.integers(64, 100_000), st.integers(1, 16))
def test_what_is_planned_is_within_what_is_free(gib: int, context_len: int, users: int):
    try:
        it = fit(SPEC, 4 * GIB, 2, gib * GIB, context_len, users)
    except OutOfMemory:
        return
    assert 4 * GIB + it.kv_bytes <= gib * GIB
    assert it.context_len <= context_len
    assert it.context_len <= it.num_tokens <= it.context_len * users
