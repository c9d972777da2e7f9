"""libllama on the shapes that are timed: contexts are what they are said to be, files go away, and what cannot be is said."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from publican.bench import shape_llama
from publican.bench.kernels import Ceilings
from publican.bench.shape_gguf import gguf_bytes, write_gguf
from publican.bench.shape_llama import time_libllama
from publican.bench.shape_times import ShapeConfig
from publican.bench.shapes import parse_format, shape_named
from publican.executors.llama.library import load_library
from publican.executors.native.cuda.config import CudaConfig

pytest.importorskip("llama_cpp")

TINY, HOW = shape_named("tiny"), parse_format("gptq-4-32")
CEILINGS = Ceilings("the CPU", 1e10, 1e11)
CONFIG = ShapeConfig(CudaConfig(("cpu",), kernels="torch"), (1, 3), (20,), 40, 2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_every_case_is_timed_and_the_file_goes_away(folder: Path) -> None:
    seen = []

    def tell(text: str) -> None:
        seen.append((text, [path.name for path in folder.rglob("*.gguf")]))

    kind, weight_bytes, times = time_libllama(TINY, HOW, CONFIG, CEILINGS, tell)
    assert (kind, weight_bytes) == ("Q4_0", gguf_bytes(TINY, "Q4_0"))
    assert [each.case for each in times] == ["decode, 1 × 20", "decode, 3 × 20", "prompt of 40"]
    assert all(each.seconds > 0 and each.share > 0 and not each.left_out for each in times)
    assert ("libllama: loading", ["random.gguf"]) in seen
    assert list(folder.iterdir()) == []


def test_sequences_hold_what_the_first_one_read(tmp_path: Path) -> None:
    """A step behind a copied context gives what the same tokens give when they are read at once."""
    write_gguf(tmp_path / "a.gguf", TINY, "Q8_0", 64)
    library = load_library()
    model = library.llama_model_load_from_file(str(tmp_path / "a.gguf").encode(), library.llama_model_default_params())
    try:
        with shape_llama._Context(library, model, 3, 64) as ours:
            ours.prompt_s(40)
            at_once = _logits(library, ours, 1)[0]
            ours.prompt_s(20)
            shorter = _logits(library, ours, 1)[0]
        with shape_llama._Context(library, model, 3, 64) as ours:
            ours.fill(3, 39)
            ours.step_s(3, 39)
            rows = _logits(library, ours, 3)
    finally:
        library.llama_model_free(model)
    spread = at_once.std()
    assert np.isfinite(rows).all()
    assert spread > 0.1
    for row in rows:
        assert np.abs(row - at_once).max() < 0.1 * spread
    assert np.abs(shorter - at_once).max() > spread


def _logits(library, context, num_rows: int) -> np.ndarray:
    pointer = library.llama_get_logits(context._context)
    return np.ctypeslib.as_array(pointer, (num_rows, TINY.vocab_size)).copy()


def why(**changes) -> str:
    _, _, (only,) = time_libllama(
        changes.pop("spec", TINY), HOW, dataclasses.replace(CONFIG, **changes), CEILINGS, lambda _: None
    )
    assert only.case == "all"
    return only.left_out


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_llama, "has_libllama", lambda: False)
    assert why() == "llama-cpp-python is not installed"


def test_it_has_no_cuda() -> None:
    if load_library().llama_supports_gpu_offload():
        pytest.skip("this libllama has a GPU")
    assert why(backend=CudaConfig(("cuda:0",)), memory_bytes=80 << 30) == "this llama-cpp-python was built without CUDA"


def test_it_does_not_fit_on_the_card() -> None:
    small = why(spec=shape_named("llama2-70b"), backend=CudaConfig(("cuda:0",)), memory_bytes=24 << 30)
    assert small == "its weights in Q4_0 do not fit here"


def test_the_disk_is_full(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Said before anything is written."""
    monkeypatch.setattr(shape_llama.shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(3_000_000_000))
    monkeypatch.setattr(shape_llama, "write_gguf", None)
    assert why(spec=shape_named("llama2-7b")) == f"its file takes 4.2 GB, and {folder} has 3.0"
    assert list(folder.iterdir()) == []


def test_a_file_that_it_refuses(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(shape_llama, "write_gguf", lambda path, *_: path.write_bytes(b"GGUF" + bytes(100)))
    assert why().startswith("libllama does not load the file: ")
    assert list(folder.iterdir()) == []
