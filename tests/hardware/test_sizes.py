import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import SettingsError
from publican.hardware.sizes import GIB, MIB, parse_size, parse_sizes, shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24 * GIB),
        ("24", 24 * GIB),
        (" 24 gib ", 24 * GIB),
        ("1.5g", GIB * 3 // 2),
        ("512MB", 512 * MIB),
        ("1T", GIB << 10),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_several():
    assert parse_sizes("14,20") == (14 * GIB, 20 * GIB)


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "24 GB x", "24,,24", "99999999TB", "1.2.3", "٣GB", "9" * 400])
def test_what_is_no_size(text):
    with pytest.raises(SettingsError, match=r"size|memory"):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 MiB"), (5 * MIB, "5.0 MiB"), (512 * MIB, "512 MiB"), (int(5.33 * GIB), "5.33 GiB"), (24 * GIB, "24.0 GiB")],
)
def test_shown(size, text):
    assert shown(size) == text


@given(st.integers(0, 1 << 49))
def test_what_is_shown_reads_back_about_the_same(size: int):
    assert abs(parse_size(shown(size)) - size) <= max(0.051 * MIB, 0.06 * size)
    assert shown(-size).lstrip("-") == shown(size)
