"""AWQ: the interleaved order, with and without zeros; and that it is told from GPTQ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.awq import AWQ
from publican.executors.native.layout import dequantise
from tests.executors.native.stored import stored
from tests.executors.native.test_formats_gptq import write as write_gptq

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def interleave(codes: np.ndarray) -> np.ndarray:
    """[R, N] codes of four bits as AutoAWQ packs them: nibble i of a word is its column ORDER[i]."""
    words = [[sum(int(row[c + ORDER[i]]) << 4 * i for i in range(8)) for c in range(0, len(row), 8)] for row in codes]
    return np.array(words, np.uint32).view(np.int32)


def test_golden_word() -> None:
    assert interleave(np.arange(8)[None]).view(np.uint32)[0, 0] == 0x75316420


def write(group_len: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(group_len)
    codes, zeros = rng.integers(0, 16, (256, 48)), rng.integers(0, 16, (256 // group_len, 48))
    scales = (rng.random(zeros.shape) * 0.1).astype(np.float16)
    group = np.arange(256) // group_len
    values = scales.astype(np.float32)[group] * (codes - zeros[group])
    arrays = {"w.qweight": interleave(codes), "w.qzeros": interleave(zeros), "w.scales": scales}
    return arrays, values.T.astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"version": "GEMM", "group_size": 64, "zero_point": True}, {"q_group_size": 64}])
@pytest.mark.parametrize("group_len", [32, 64, 128, 256])
def test_reads_what_a_writer_wrote_exactly(group_len: int, settings: dict[str, object], tmp_path: Path) -> None:
    arrays, values = write(group_len)
    tensors = stored(tmp_path, arrays)
    assert AWQ.owns(tensors, "w")
    np.testing.assert_array_equal(dequantise(AWQ.read(tensors, "w", settings, values.shape)), values)


def test_without_zeros_the_middle_is_zero(tmp_path: Path) -> None:
    arrays, _ = write(64)
    del arrays["w.qzeros"]
    with_eights = arrays | {"w.qzeros": interleave(np.full((4, 48), 8))}
    (tmp_path / "a").mkdir()
    silent = AWQ.read(stored(tmp_path, arrays), "w", {}, (48, 256))
    spoken = AWQ.read(stored(tmp_path / "a", with_eights), "w", {}, (48, 256))
    np.testing.assert_array_equal(dequantise(silent), dequantise(spoken))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_does_not_take_gptq_for_its_own(bits: int, tmp_path: Path) -> None:
    arrays = write_gptq(bits, 64).arrays
    del arrays["w.g_idx"]
    assert not AWQ.owns(stored(tmp_path, arrays), "w")


@pytest.mark.parametrize("version", ["gemv", "GEMV_FAST", "marlin", "llm-awq"])
def test_names_the_variant_it_does_not_read(version: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=version.lower()):
        AWQ.read(stored(tmp_path, write(64)[0]), "w", {"version": version}, (48, 256))


def test_damage_is_a_model_file_error(tmp_path: Path) -> None:
    arrays, _ = write(64)
    for damage in ({"w.qzeros": arrays["w.qzeros"][:2]}, {"w.scales": arrays["w.scales"][:3]}):
        with pytest.raises(ModelFileError):
            AWQ.read(stored(tmp_path, arrays | damage), "w", {}, (48, 256))
