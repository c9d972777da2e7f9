"""The hub's own client gets on with our fake: so what passes here has a chance with the real one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

from tests.store.fake_hub import LFS_BYTES, running_hub

LARGE = bytes(range(256)) * (LFS_BYTES // 128)


def test_the_hubs_own_client(tmp_path: Path) -> None:
    with running_hub() as hub:
        commit = hub.add("org/repo", {"config.json": b"{}", "model.safetensors": LARGE, **{f"f{i}": b"x" for i in range(12)}})
        hub.add("org/repo", {"config.json": b"[]"}, revision="other")
        hub.add("org/gated", {"model.safetensors": LARGE}, gated=True)
        api = HfApi(endpoint=hub.endpoint, token=False)
        info = api.model_info("org/repo", files_metadata=True)
        assert info.sha == commit
        by_name = {file.rfilename: file for file in info.siblings or []}
        assert by_name["model.safetensors"].lfs is not None
        assert by_name["model.safetensors"].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
        assert {entry.path for entry in api.list_repo_tree("org/repo", recursive=True)} == set(by_name)
        assert {branch.name for branch in api.list_repo_refs("org/repo").branches} == {"main", "other"}
        for name, data in (("config.json", b"{}"), ("model.safetensors", LARGE)):
            path = hf_hub_download("org/repo", name, endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
            assert Path(path).read_bytes() == data
        with pytest.raises(HfHubHTTPError, match="401"):  # strangers cannot tell private ones from none
            api.model_info("org/nothing")
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/repo", revision="nope")
        with pytest.raises(GatedRepoError):
            hf_hub_download("org/gated", "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
