"""The manifest comes back as it was written, and a damaged or hostile one counts for nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.store.manifest import MANIFEST, Manifest, ManifestFile, read_manifest, write_manifest
from publican.store.transfer.hashing import Digest

FILE = ManifestFile("sub/m.gguf", 7, Digest("sha256", "a" * 64), "main", "b" * 40, (0, 1, 0xFFFF_FFFF))
WHOLE = Manifest(
    "org/repo",
    "https://hub",
    "mit",
    ("x/y",),
    {"m.gguf": FILE, "c.json": ManifestFile("c.json", 0, Digest("git-sha1", "c" * 40))},
)


def test_there_and_back(tmp_path: Path) -> None:
    write_manifest(tmp_path, WHOLE)
    assert read_manifest(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]
    write_manifest(tmp_path, WHOLE.without({"m.gguf"}))
    assert set(read_manifest(tmp_path).files) == {"c.json"}
    write_manifest(tmp_path, WHOLE.without(set(WHOLE.files)))
    assert read_manifest(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_names_that_lead_elsewhere_are_not_taken(tmp_path: Path) -> None:
    write_manifest(tmp_path, WHOLE.with_files(dict.fromkeys(("../evil", "/etc/passwd", "..", ".", "", "a\0b"), FILE)))
    assert set(read_manifest(tmp_path).files) == {"m.gguf", "c.json"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3), max_leaves=5
)


@given(
    st.fixed_dictionaries(
        {},
        optional={"version": st.just(1) | JSON, "repo": JSON, "base_models": JSON, "files": JSON | st.dictionaries(
            st.text(max_size=5), JSON | st.fixed_dictionaries({}, optional={"num_bytes": JSON, "sha256": JSON, "crcs": JSON})
        )},
    )
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_it(tmp_path: Path, data: dict[str, Any]) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    found = read_manifest(tmp_path)
    assert found is None or all(isinstance(file.num_bytes, int) for file in found.files.values())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b'{"version": 1, "files": {"a": {"num_bytes": -1}}}', b"[" * 9_999]
)
def test_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    assert read_manifest(tmp_path) is None


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_manifest(tmp_path / "none", WHOLE)
