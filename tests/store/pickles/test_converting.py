"""torch's own files become the same tensors as safetensors; and pickles that mean harm do none."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from publican.core.errors import ModelFileError
from publican.store.pickles.converting import convert, converted_name


def test_names() -> None:
    assert converted_name("pytorch_model.bin") == "model.safetensors"
    assert converted_name("pytorch_model-00001-of-00002.bin") == "model-00001-of-00002.safetensors"
    assert converted_name("gptq-4bit-128g.pt") == "gptq-4bit-128g.safetensors"


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]  # fmt: skip


def test_torchs_own(tmp_path: Path) -> None:
    state: dict[str, Any] = OrderedDict()
    for dtype in DTYPES:
        state[f"x.{dtype}"] = (torch.randn(3, 5, 2) * 9).to(dtype)
    big = torch.randn(100, 8)
    state |= {
        "tied": big,
        "part": big[10:20],
        "scalar": torch.tensor(3.0),
        "parameter": torch.nn.Parameter(torch.ones(2, 1, 3)),
    }
    state["empty"] = torch.zeros(0, 4)
    torch.save(state, tmp_path / "m.bin")
    size, digest = convert(tmp_path / "m.bin", tmp_path / "m.safetensors")
    assert size == (tmp_path / "m.safetensors").stat().st_size
    assert digest.hex == hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    loaded = load_file(tmp_path / "m.safetensors")
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], state[name].detach()) for name in state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.safetensors"]


def test_a_whole_training_state_has_its_weights_taken(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert list(load_file(tmp_path / "m.safetensors")) == ["a"]


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/publican-was-owned",)


def archive(data: bytes, members: dict[str, bytes] | None = None, compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as file:
        file.writestr("archive/data.pkl", data)
        for name, content in (members or {}).items():
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (archive(pickle.dumps({"a": Harm()})), r"wants to run posix.system, which is refused"),
        (archive(b"cbuiltins\neval\n(S'1'\ntR."), "builtins.eval"),
        (archive(b"c__main__\nx\n."), "__main__.x"),
        (archive(b"ctorch\nload\n."), "torch.load"),
        (archive(pickle.dumps([1, 2])), "tensors by their names"),
        (archive(pickle.dumps({"a": 1})), "no tensors"),
        (archive(b""), "not a sound file"),
        (archive(b"garbage"), "not a sound file"),
        (archive(b"(" * 100_000 + b"."), "not a sound file"),
        (saved({"a": torch.ones(4, 6).t()}), "one piece"),
        (saved({"a": torch.ones(4)}).replace(b"byteorder", b"xyteorder")[:-9], r"sound|damaged|before 1.6"),
        (pickle.dumps({"a": Harm()}), "before 1.6"),
        (b"", "before 1.6"),
    ],
    ids=range(13),
)
def test_hostile(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "m.bin").write_bytes(data)
    with pytest.raises(ModelFileError, match=says):
        convert(tmp_path / "m.bin", tmp_path / "m.safetensors")
    assert not Path("/tmp/publican-was-owned").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.bin"]


def test_bytes_that_are_not_there(tmp_path: Path) -> None:
    whole = saved({"a": torch.ones(4_000)})
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        names = file.namelist()
        described = file.read(next(name for name in names if name.endswith("data.pkl")))
    for members, compress in (({}, 0), ({"data/0": b"short"}, 0), ({"data/0": b"\0" * 16_000}, zipfile.ZIP_DEFLATED)):
        (tmp_path / "m.bin").write_bytes(archive(described, members, compress))
        with pytest.raises(ModelFileError, match=r"are missing|not all there"):
            convert(tmp_path / "m.bin", tmp_path / "m.safetensors")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_end_in_a_sentence_or_in_safetensors(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(saved({"a": torch.ones(4, 2), "b": torch.zeros(3, dtype=torch.int8)}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.bin").write_bytes(raw)
    try:
        convert(tmp_path / "m.bin", tmp_path / "m.safetensors")
    except ModelFileError:
        return
    load_file(tmp_path / "m.safetensors")
