"""Names of strangers that become names on this disk."""

from __future__ import annotations

import string
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.store.hub.names import safe_part, safe_path, safe_paths

BAD = ["..", "../x", "a/../b", "/etc/passwd", "a//b", "", ".", "a/.", "C:x", "a\\b", "nul", "NUL.txt", "com1.gguf", "x\0y",
       "x\ny", "~/x", "~root", " x", "x ", "x.", "a?b", "a*b", "a|b", 'a"b', "a<b", "\x1b[2J", "x" * 201, "\ud800"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(ModelFileError, match="must not be written"):
        safe_path(name)


@pytest.mark.parametrize(
    "name", ["m.Q4_K_M.gguf", "a/b/c.json", ".gitattributes", "模型.gguf", "x" * 200, "a b.gguf", "con-x.gguf"]
)
def test_taken(name: str) -> None:
    assert str(safe_path(name)) == name


@given(st.text(max_size=30) | st.text(alphabet="./\\ ~a:\0", max_size=12))
def test_what_is_taken_stays_below_its_folder_on_every_system(name: str) -> None:
    try:
        path = safe_path(name)
    except ModelFileError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        here = kind(str(path))
        assert not here.is_absolute()
        assert not here.drive
        assert ".." not in here.parts
        assert len(here.parts) == len(path.parts)


def test_names_that_are_one_on_other_disks() -> None:
    with pytest.raises(ModelFileError, match="capitals only"):
        safe_paths(["A.json", "a.json"])
    with pytest.raises(ModelFileError, match="file and a folder"):
        safe_paths(["a", "a/b"])
    assert len(safe_paths(["a", "b/a"])) == 2


@given(st.text(max_size=150))
def test_parts_are_always_safe(text: str) -> None:
    part = safe_part(text)
    assert str(safe_path(part)) == part
    assert set(part) <= set(string.ascii_letters + string.digits + "_.+-")
