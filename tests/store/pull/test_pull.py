"""From a source to a model in the folder, against a hub on loopback: what is taken, what is refused, and what is said."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from publican.core.errors import InvalidParameter, ModelFileError, OutOfMemory, PublicanError, Unsupported, UnsupportedModel
from publican.core.model import Checkpoint
from publican.store.catalogue import list_models
from publican.store.checkpoint import open_checkpoint
from publican.store.http.network import Network
from publican.store.manifest import MANIFEST, read_manifest
from publican.store.pull.appraise import Judge
from publican.store.pull.check import check_file
from publican.store.pull.choose import Choice, Fitting
from publican.store.pull.pull import Order, Pulled, pull
from publican.store.transfer.events import Event, FileDone, Repairing
from publican.store.transfer.hashing import Digest
from tests.store.fake_hub import MIRROR, FakeHub, Fault, running_hub
from tests.store.pull.models import CONFIG_BYTES, QUANTS, folder, gguf, quant, shards, weights

MIB = 1 << 20


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def get(
    hub: FakeHub,
    models: Path,
    source: str,
    judge: Judge | None = None,
    watch: Callable[[Any], None] = lambda event: None,
    network: dict[str, Any] | None = None,
    **order: Any,
) -> Pulled:
    quick = Network(endpoint=hub.endpoint, num_connections=4, connect_s=5, stall_s=5, backoff_s=0.01, tries=4)
    reach = dataclasses.replace(quick, **(network or {}))
    return asyncio.run(pull(Order(source, models, **order), reach, judge or Judge(), watch))


def up_to(limit_bytes: int) -> Judge:
    """A machine that holds weights of so many bytes."""

    def fits(checkpoint: Checkpoint, num_bytes: int) -> Fitting:
        return Fitting(num_bytes <= limit_bytes, 4096, 4, 4096, 4, "a small box")

    return Judge(fits=fits)


def names(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


def quants(hub: FakeHub, **more: bytes) -> str:
    files = {f"m.{name}.gguf": quant(name) for name in QUANTS}
    return hub.add("org/repo", {"README.md": b"hi", **files, **more})


def test_a_folder_model_with_what_belongs_to_it(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.add("org/repo", folder())
    pulled = get(hub, tmp_path, "org/repo")
    assert pulled.path == tmp_path / "org" / "repo"
    assert names(pulled.path) == {
        "LICENSE", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", MANIFEST,
    }  # fmt: skip
    manifest = read_manifest(pulled.path)
    assert manifest is not None
    assert (manifest.repo, manifest.endpoint, manifest.licence) == ("org/repo", hub.endpoint, "apache-2.0")
    entry = manifest.files["model.safetensors"]
    assert (entry.revision, entry.commit, len(entry.crcs)) == ("main", commit, 1)
    assert entry.digest is not None
    assert entry.digest.hex == hashlib.sha256((pulled.path / "model.safetensors").read_bytes()).hexdigest()
    assert [model.name for model in list_models(tmp_path)] == ["org/repo"]
    assert not (tmp_path / ".pulling").exists()


def test_the_revision_is_a_commit_before_anything_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    """Somebody pushes while we pull: what comes is what there was when it began."""
    old = hub.add("org/repo", folder())
    files = hub.repos["org/repo"].commits[old]
    hub.faults = [Fault("hub .*/resolve/main", times=-1, status=500)]

    def chose(choice: Choice) -> None:
        hub.add("org/repo", {**files, "model.safetensors": weights(8_000)})

    network = Network(endpoint=hub.endpoint, backoff_s=0.01)
    pulled = asyncio.run(pull(Order("org/repo", tmp_path), network, Judge(), lambda event: None, chose))
    assert (pulled.path / "model.safetensors").read_bytes() == files["model.safetensors"]
    again = get(hub, tmp_path, f"org/repo@{old}")
    assert again.path == tmp_path / "org" / f"repo@{old[:12]}"


def test_pulling_again_fetches_nothing_and_a_new_commit_only_what_is_new(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    get(hub, tmp_path, "org/repo")
    assert get(hub, tmp_path, "org/repo").num_fetched_bytes == 0
    commit = hub.add("org/repo", folder(tokenizer__json=b'{"new": 1}'))
    assert get(hub, tmp_path, "org/repo").num_fetched_bytes == len(b'{"new": 1}')
    manifest = read_manifest(tmp_path / "org" / "repo")
    assert manifest is not None
    assert {entry.commit for entry in manifest.files.values()} == {commit}


def test_shards_of_an_earlier_commit_go_when_the_model_is_cut_anew(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", {**shards(), "m.Q4_0.gguf": gguf(20_000)})
    home = get(hub, tmp_path, "org/repo").path
    get(hub, tmp_path, "org/repo", file="m.Q4_0.gguf")
    (home / "mine.safetensors.bak").write_bytes(b"mine")
    hub.add("org/repo", {"config.json": CONFIG_BYTES, "model.safetensors": weights(4_000)})
    assert get(hub, tmp_path, "org/repo").path == home
    assert names(home) == {"config.json", "model.safetensors", "m.Q4_0.gguf", "mine.safetensors.bak", MANIFEST}
    manifest = read_manifest(home)
    assert manifest is not None
    assert set(manifest.files) == {"config.json", "model.safetensors", "m.Q4_0.gguf"}


def test_a_model_folder_on_another_disk(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.parent.name == ".pulling" and Path(target).parent.name != ".pulling":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    hub.add("org/repo", folder())
    assert names(get(hub, tmp_path, "org/repo").path) >= {"config.json", "model.safetensors", MANIFEST}
    assert not (tmp_path / ".pulling").exists()
    assert not list(tmp_path.rglob("*.copy"))


def test_what_lies_there_without_a_manifest_is_hashed_and_kept(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    get(hub, tmp_path, "org/repo")
    (tmp_path / "org" / "repo" / MANIFEST).unlink()
    assert get(hub, tmp_path, "org/repo").num_fetched_bytes == 0
    assert read_manifest(tmp_path / "org" / "repo") is not None


@pytest.mark.parametrize(("limit", "label"), [(1 << 40, "Q8_0"), (200_000, "Q4_K_M"), (100_000, "Q2_K")])
def test_the_quant_that_fits(hub: FakeHub, tmp_path: Path, limit: int, label: str) -> None:
    quants(hub)
    pulled = get(hub, tmp_path, "org/repo", up_to(limit))
    assert pulled.path.name == f"m.{label}.gguf"
    assert names(tmp_path) == {f"org/repo/m.{label}.gguf", f"org/repo/{MANIFEST}"}
    assert pulled.choice is not None
    assert len(pulled.choice.rows) == 3
    fetched = hub.sent_bytes("cdn .*") + hub.sent_bytes("hub .*resolve")
    assert fetched <= 3 * (pulled.path.stat().st_size + 20_000), "the others were not fetched to be looked at"


def test_nothing_fits(hub: FakeHub, tmp_path: Path) -> None:
    quants(hub)
    with pytest.raises(OutOfMemory, match="Q2_K"):
        get(hub, tmp_path, "org/repo", up_to(1))
    assert not names(tmp_path)
    assert get(hub, tmp_path, "org/repo", up_to(1), anyway=True).path.name == "m.Q2_K.gguf"


@pytest.mark.parametrize(
    ("source", "order"),
    [
        ("org/repo:Q2_K", {}),
        ("org/repo:q2", {}),
        ("org/repo", {"quant": "Q2_K"}),
        ("org/repo", {"file": "m.Q2_K.gguf"}),
        ("{hub}/org/repo/blob/main/m.Q2_K.gguf", {}),
        ("{hub}/org/repo/resolve/main/m.Q2_K.gguf?download=true", {}),
        ("https://huggingface.co/org/repo/blob/main/m.Q2_K.gguf", {}),
        ("hf.co/org/repo:Q2_K", {}),
    ],
)
def test_a_quant_that_was_named(hub: FakeHub, tmp_path: Path, source: str, order: dict[str, str]) -> None:
    quants(hub)
    assert get(hub, tmp_path, source.format(hub=hub.endpoint), up_to(1 << 40), **order).path.name == "m.Q2_K.gguf"


@pytest.mark.parametrize("at", ["", MIRROR, f"{MIRROR}/"])
def test_mirrors_that_say_less_than_the_hub(hub: FakeHub, tmp_path: Path, at: str) -> None:
    """No sizes among the siblings (so the tree is read, page by page), and no tags on files."""
    hub.add("org/repo", {**folder(), **{f"notes-{i}.md": b"x" for i in range(12)}})
    hub.siblings_have_sizes = hub.etags = False
    pulled = get(hub, tmp_path, "org/repo", network={"endpoint": hub.endpoint + at, "token": "hf_good"})
    assert names(pulled.path) >= {"config.json", "model.safetensors", "tokenizer.json", MANIFEST}
    assert len(hub.requests("/tree/")) >= 4
    assert all(seen.path.startswith(at.rstrip("/") or "/") for seen in hub.requests("hub ") if "cursor" not in seen.path)


def test_a_quant_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    quants(hub)
    with pytest.raises(InvalidParameter, match="Q2_K, Q4_K_M, Q8_0"):
        get(hub, tmp_path, "org/repo:Q5_K_M")
    with pytest.raises(InvalidParameter, match=r"no file 'x.gguf'.*m.Q2_K.gguf"):
        get(hub, tmp_path, "org/repo", file="x.gguf")


def test_two_models_of_one_file_name_do_not_take_each_others_place(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", {"a/m.Q4_0.gguf": gguf(20_000), "b/m.Q4_0.gguf": gguf(30_000)})
    get(hub, tmp_path, "org/repo", file="a/m.Q4_0.gguf")
    with pytest.raises(ModelFileError, match=r"here already as a/m\.Q4_0\.gguf"):
        get(hub, tmp_path, "org/repo", file="b/m.Q4_0.gguf")


def test_two_quants_lie_side_by_side(hub: FakeHub, tmp_path: Path) -> None:
    quants(hub)
    get(hub, tmp_path, "org/repo:Q2_K")
    get(hub, tmp_path, "org/repo:Q8_0")
    manifest = read_manifest(tmp_path / "org" / "repo")
    assert manifest is not None
    assert set(manifest.files) == {"m.Q2_K.gguf", "m.Q8_0.gguf"}


def test_split_files_come_together(hub: FakeHub, tmp_path: Path) -> None:
    from tests.store.gguf_bytes import RawTensor, build

    second = build({"split.no": 1, "split.count": 2}, [RawTensor(b"more", (4,), 0, 0)], b"\0" * 12_000)
    first = gguf(20_000, **{"split.no": 0, "split.count": 2, "split.tensors.count": 12})
    files = {"Q4_K_M/m-Q4_K_M-00001-of-00002.gguf": first, "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf": second}
    hub.add("org/repo", files)
    pulled = get(hub, tmp_path, "org/repo")
    assert pulled.path == tmp_path / "org" / "repo" / "m-Q4_K_M-00001-of-00002.gguf"
    assert len(names(tmp_path)) == 3
    hub.add("org/half", dict(list(files.items())[:1]))
    with pytest.raises(ModelFileError, match="lacks 1 parts"):
        get(hub, tmp_path, "org/half")


def test_shards_come_together_or_not_at_all(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", shards())
    assert len(names(get(hub, tmp_path, "org/repo").path)) == 5
    hub.add("org/half", shards(1))
    with pytest.raises(ModelFileError, match="model-00002-of-00002"):
        get(hub, tmp_path, "org/half")


def test_branches_are_quants(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/exl2", {"README.md": b"see the branches", "measurement.json": b"{}"})
    for name, extra in (("3.0bpw", 3_000), ("4.0bpw", 4_000), ("6.0bpw", 6_000)):
        hub.add("org/exl2", folder(model__safetensors=weights(extra)), revision=name)
    assert get(hub, tmp_path, "org/exl2:4.0bpw").path == tmp_path / "org" / "exl2@4.0bpw"
    pulled = get(hub, tmp_path, "org/exl2", up_to(20_000))
    assert pulled.path.name == "exl2@4.0bpw"
    assert pulled.num_fetched_bytes == 0
    assert get(hub, tmp_path, "org/exl2@3.0bpw").path.name == "exl2@3.0bpw"
    assert {model.name for model in list_models(tmp_path)} == {"org/exl2@3.0bpw", "org/exl2@4.0bpw"}


def test_safetensors_before_gguf_only_when_the_whole_fits(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", {**folder(), "m.Q4_K_M.gguf": gguf(1_000)})
    assert get(hub, tmp_path, "org/repo", up_to(10_000)).path.name == "m.Q4_K_M.gguf"
    assert get(hub, tmp_path, "org/repo", up_to(1 << 40)).path == tmp_path / "org" / "repo"


def test_never_pickles_nor_programs(hub: FakeHub, tmp_path: Path) -> None:
    pickles = {
        "pytorch_model.bin": b"\x80pickle" * 3_000,
        "config.json": b"{}",
        "evil.py": b"import os",
        "optimizer.pt": b"\x80",
    }
    hub.add("org/old", pickles)
    with pytest.raises(UnsupportedModel, match=r"run code.*old-GGUF.*--allow-pickle"):
        get(hub, tmp_path, "org/old")
    assert not names(tmp_path)
    with pytest.raises(ModelFileError, match=r"before 1.6.*safetensors"):
        get(hub, tmp_path, "org/old", allow_pickle=True)
    with pytest.raises(InvalidParameter, match="neither GGUF nor safetensors"):
        get(hub, tmp_path, "org/old", file="evil.py")


def test_pickles_that_were_allowed_become_safetensors(hub: FakeHub, tmp_path: Path) -> None:
    import io

    import torch

    def saved(state: dict[str, torch.Tensor]) -> bytes:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    weights_of_two = [{"model.embed_tokens.weight": torch.ones(16, 8)}, {"model.norm.weight": torch.ones(4_000)}]
    parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": saved(state) for i, state in enumerate(weights_of_two)}
    index = {"weight_map": {name: file for file, state in zip(parts, weights_of_two, strict=True) for name in state}}
    hub.add("org/old", {"config.json": CONFIG_BYTES, "pytorch_model.bin.index.json": json.dumps(index).encode(), **parts})
    pulled = get(hub, tmp_path, "org/old", allow_pickle=True)
    two = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert names(pulled.path) == {"config.json", MANIFEST, *two}
    manifest = read_manifest(pulled.path)
    assert manifest is not None
    assert set(manifest.files) == {"config.json", *two}
    checkpoint = open_checkpoint(pulled.path)
    assert set(checkpoint.tensors) == set(index["weight_map"])
    before = hub.sent_bytes("cdn")
    assert get(hub, tmp_path, "org/old", allow_pickle=True).num_fetched_bytes == 0
    assert hub.sent_bytes("cdn") == before


def test_what_is_no_language_model_says_what_to_pull(hub: FakeHub, tmp_path: Path) -> None:
    from tests.store.safetensors_bytes import build

    lora = build({"base_model.model.q_proj.lora_A.weight": ("F32", [4], b"\0" * 16)})
    hub.add("org/lora", {"adapter_model.safetensors": lora, "adapter_config.json": b'{"base_model_name_or_path": "org/base"}'})
    with pytest.raises(UnsupportedModel, match="LoRA adapter"):
        get(hub, tmp_path, "org/lora")
    hub.add("org/embed", {"m.Q8_0.gguf": gguf(**{"general.architecture": "bert"})})
    with pytest.raises(UnsupportedModel, match="turns texts into vectors, and not here: no libllama"):
        get(hub, tmp_path, "org/embed", Judge(lambda checkpoint: "no libllama"))
    assert get(hub, tmp_path, "org/embed").num_fetched_bytes > 0
    hub.add("org/nothing", {"README.md": b"", "data.csv": b""})
    with pytest.raises(ModelFileError, match="no model that publican knows"):
        get(hub, tmp_path, "org/nothing")


def test_what_does_not_run_is_said_before_a_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    judge = Judge(objection=lambda checkpoint: "It is quantised as HQQ; pull it as GGUF.")
    with pytest.raises(UnsupportedModel, match=r"^It is quantised as HQQ; pull it as GGUF\.$"):
        get(hub, tmp_path, "org/repo", judge)
    assert not names(tmp_path)


def test_a_quant_whose_types_do_not_run_gives_way_to_the_next(hub: FakeHub, tmp_path: Path) -> None:
    quants(hub)
    judge = Judge(objection=lambda checkpoint: "no" if "Q8_0" in checkpoint.name else None, fits=up_to(1 << 40).fits)
    assert get(hub, tmp_path, "org/repo", judge).path.name == "m.Q4_K_M.gguf"


def test_gated_and_private_repositories(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/gated", folder(), gated=True)
    hub.add("org/private", folder(), private=True)
    with pytest.raises(ModelFileError, match=r"gated: accept its terms at .*/org/gated, then set HF_TOKEN"):
        get(hub, tmp_path, "org/gated")
    with pytest.raises(ModelFileError, match="account of this token may not read it yet"):
        get(hub, tmp_path, "org/gated", network={"token": "hf_stranger"})
    with pytest.raises(ModelFileError, match="does not accept the token"):
        get(hub, tmp_path, "org/gated", network={"token": "hf_expired"})
    with pytest.raises(ModelFileError, match="no public repository org/private"):
        get(hub, tmp_path, "org/private")
    with pytest.raises(ModelFileError, match="no public repository org/typo"):
        get(hub, tmp_path, "org/typo")
    assert get(hub, tmp_path, "org/gated", network={"token": "hf_good"}).num_fetched_bytes > 0
    assert not any("authorization" in seen.headers for seen in hub.requests("cdn"))
    assert "hf_good" not in (tmp_path / "org" / "gated" / MANIFEST).read_text()


def test_a_branch_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    with pytest.raises(ModelFileError, match="no such branch, tag or commit"):
        get(hub, tmp_path, "org/repo@nope")


def test_offline_it_is_here_or_it_is_not(hub: FakeHub, tmp_path: Path) -> None:
    quants(hub)
    hub.add("org/exl2", folder(), revision="4.0bpw")
    for source in ("org/repo:Q4_K_M", "org/exl2@4.0bpw"):
        with pytest.raises(ModelFileError, match="offline"):
            get(hub, tmp_path, source, network={"offline": True})
        get(hub, tmp_path, source)
    hub.seen.clear()
    assert get(hub, tmp_path, "org/repo", network={"offline": True}).path.name == "m.Q4_K_M.gguf"
    assert get(hub, tmp_path, "org/exl2:4.0bpw", network={"offline": True}).path.name == "exl2@4.0bpw"
    with pytest.raises(ModelFileError, match="offline"):
        get(hub, tmp_path, "org/repo:Q8_0", network={"offline": True})
    with pytest.raises(ModelFileError, match="offline"):
        get(hub, tmp_path, "default", network={"offline": True})
    assert not hub.seen


def test_a_file_somewhere_on_the_web(hub: FakeHub, tmp_path: Path) -> None:
    hub.loose["x/m.Q4_0.gguf"] = gguf(30_000)
    url = f"{hub.cdn_url}/loose/x/m.Q4_0.gguf?signature=secret"
    pulled = get(hub, tmp_path, url, network={"token": "hf_good"})
    assert pulled.path == tmp_path / "127.0.0.1" / "m.Q4_0.gguf"
    assert pulled.path.read_bytes() == hub.loose["x/m.Q4_0.gguf"]
    assert "secret" not in (pulled.path.parent / MANIFEST).read_text()
    assert not any("authorization" in seen.headers for seen in hub.seen)
    assert get(hub, tmp_path, url).num_fetched_bytes == 0
    hub.loose["page.gguf"] = b"<html>" + b" " * 20_000
    with pytest.raises(ModelFileError, match="is a web page"):
        get(hub, tmp_path, f"{hub.cdn_url}/loose/page.gguf")
    with pytest.raises(UnsupportedModel, match="whole repository"):
        get(hub, tmp_path, f"{hub.cdn_url}/loose/model.safetensors")


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


STATING = {
    "X-Linked-ETag": lambda data, asked: {"X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"'},
    "Repr-Digest": lambda data, asked: {"Repr-Digest": f"md5=:AAAA:, sha-256=:{_digest(data)}:"},
    "Digest": lambda data, asked: {"Digest": f"SHA-256={_digest(data)}"},
}


@pytest.mark.parametrize("name", sorted(STATING))
def test_a_file_is_held_to_the_hash_that_its_server_states(hub: FakeHub, tmp_path: Path, name: str) -> None:
    data = hub.loose["m.gguf"] = gguf(1_500_000)
    hub.loose_headers = STATING[name]
    hub.faults.append(Fault("cdn /loose", skip=3, corrupt=(1_400_000,)))  # after the header and the last byte
    seen: list[Event] = []
    pulled = get(hub, tmp_path, f"{hub.cdn_url}/loose/m.gguf", watch=seen.append)
    assert pulled.path.read_bytes() == data
    assert any(isinstance(event, Repairing) for event in seen)
    assert [event.verified for event in seen if isinstance(event, FileDone)] == [True]
    hub.loose_headers = lambda data, asked: {"Repr-Digest": f"sha-256=:{_digest(b'another')}:"}
    hub.loose["other.gguf"] = data
    with pytest.raises(ModelFileError, match="sha256 that it should have"):
        get(hub, tmp_path, f"{hub.cdn_url}/loose/other.gguf")


def test_a_hash_of_each_part_is_none_of_the_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.loose["m.gguf"] = gguf(30_000)
    hub.loose_headers = lambda data, asked: {"Digest": f"sha-256={_digest(asked.encode())}"}
    assert get(hub, tmp_path, f"{hub.cdn_url}/loose/m.gguf").path.read_bytes() == hub.loose["m.gguf"]


@pytest.mark.parametrize("is_right", [True, False])
def test_a_tag_that_looks_like_a_hash_is_compared_and_no_more(hub: FakeHub, tmp_path: Path, is_right: bool) -> None:
    data = hub.loose["m.gguf"] = gguf(30_000)
    tag = hashlib.sha256(data if is_right else b"x").hexdigest()
    hub.loose_headers = lambda data, asked: {"ETag": f'"{tag}"'}
    seen: list[Event] = []
    get(hub, tmp_path, f"{hub.cdn_url}/loose/m.gguf", watch=seen.append)
    assert [event.verified for event in seen if isinstance(event, FileDone)] == [is_right]


def test_where_no_hash_is_stated_a_file_is_held_to_how_it_came(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.loose["m.gguf"] = gguf(2_500_000)
    url = f"{hub.cdn_url}/loose/m.gguf"
    path = get(hub, tmp_path, url).path
    manifest = read_manifest(path.parent)
    assert manifest is not None
    assert manifest.files["m.gguf"].digest == Digest("sha256", hashlib.sha256(data).hexdigest())
    assert len(manifest.files["m.gguf"].crcs) == 3
    assert check_file(path, manifest.files["m.gguf"]).state == "right"
    assert get(hub, tmp_path, url).num_fetched_bytes == 0
    assert get(hub, tmp_path, url, distrust=True).num_fetched_bytes == 0
    path.write_bytes(data[:-1] + b"?")
    assert check_file(path, manifest.files["m.gguf"]).state == "wrong"
    assert get(hub, tmp_path, url, distrust=True).num_fetched_bytes == len(data)
    assert path.read_bytes() == data
    assert read_manifest(path.parent) == manifest


def test_something_on_this_machine_is_linked(hub: FakeHub, tmp_path: Path) -> None:
    elsewhere, models = tmp_path / "elsewhere", tmp_path / "models"
    elsewhere.mkdir()
    (elsewhere / "tiny.gguf").write_bytes(gguf())
    pulled = get(hub, models, str(elsewhere / "tiny.gguf"))
    assert pulled.path.is_symlink()
    assert [model.name for model in list_models(models)] == ["tiny"]
    assert get(hub, models, str(elsewhere / "tiny.gguf")).path == pulled.path
    with pytest.raises(ModelFileError, match="no file"):
        get(hub, models, str(elsewhere / "missing.gguf"))
    with pytest.raises(Unsupported, match="of the hub"):
        get(hub, models, str(elsewhere / "tiny.gguf"), local=False)
    with pytest.raises(Unsupported, match="of the hub"):
        get(hub, models, f"{hub.cdn_url}/loose/x.gguf", local=False)


@pytest.mark.parametrize("name", ["../../evil.gguf", "a\\b.gguf", "CON.gguf", "x\0.gguf", "a/../../b.gguf"])
def test_names_that_would_leave_the_folder(hub: FakeHub, tmp_path: Path, name: str) -> None:
    hub.add("org/repo", {name: gguf(20_000)})
    with pytest.raises((ModelFileError, PublicanError)):
        get(hub, tmp_path / "models", "org/repo")
    assert names(tmp_path) <= set()


def test_a_damaged_file_is_repaired_piece_by_piece(hub: FakeHub, tmp_path: Path) -> None:
    import os

    data = gguf() + os.urandom(6 * MIB)
    hub.add("org/repo", {"m.Q4_0.gguf": data})
    path = get(hub, tmp_path, "org/repo").path
    with path.open("r+b") as file:
        file.seek(3 * MIB + 17)
        file.write(b"rotten")
    hub.seen.clear()
    assert get(hub, tmp_path, "org/repo").num_fetched_bytes == 0, "unless asked, what was right once is not read again"
    before = hub.sent_bytes("cdn")
    events: list[object] = []
    get(hub, tmp_path, "org/repo", watch=events.append, distrust=True)
    assert path.read_bytes() == data
    assert hub.sent_bytes("cdn") - before < 3 * MIB, "one piece, and the header to look at"
    assert not any(isinstance(event, Repairing) for event in events), "it was known beforehand which"


def test_a_damaged_file_without_checksums_is_repaired_too(hub: FakeHub, tmp_path: Path) -> None:
    import os

    data = gguf() + os.urandom(6 * MIB)
    hub.add("org/repo", {"m.Q4_0.gguf": data})
    path = get(hub, tmp_path, "org/repo").path
    manifest = path.parent / MANIFEST
    told = json.loads(manifest.read_text())
    del told["files"]["m.Q4_0.gguf"]["crcs"]
    manifest.write_text(json.dumps(told))
    with path.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(b"rotten")
    get(hub, tmp_path, "org/repo", distrust=True)
    assert path.read_bytes() == data
