"""GGUF mixtures by their tensors, and the default model as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from publican.core.model import TensorInfo
from publican.store.gguf import read_gguf
from publican.store.recognise.gguf import recognise_gguf


def mixture(*kinds: str) -> dict[str, TensorInfo]:
    return {f"t{i}": TensorInfo(f"t{i}", kind, (256, 256), Path("x"), 0, 1000 - i) for i, kind in enumerate(kinds)}


@pytest.mark.parametrize(
    ("file_type", "kinds", "name"),
    [
        (15, ("Q4_K", "Q6_K", "F32"), "Q4_K_M"),
        (14, ("Q4_K",), "Q4_K_S"),
        (30, ("IQ4_XS", "Q6_K"), "IQ4_XS"),
        (27, ("IQ3_S", "Q4_K"), "IQ3_M"),
        (7, ("Q8_0", "F32"), "Q8_0"),
        (15, ("Q8_0", "F32"), "Q8_0"),
        (None, ("Q5_K", "F32"), "Q5_K"),
        ("15", ("Q5_K",), "Q5_K"),
        (999, ("BF16",), "BF16"),
        (15, (), "empty"),
    ],
)
def test_a_name_is_believed_where_the_tensors_agree(file_type: object, kinds: tuple[str, ...], name: str) -> None:
    assert recognise_gguf({"general.file_type": file_type}, mixture(*kinds)).name == name


def test_the_default_model(default_model: Path) -> None:
    header = read_gguf(default_model)
    form = recognise_gguf(header.metadata, {tensor.name: tensor for tensor in header.tensors})
    assert form.name == "Q4_1"
    assert form.num_params == 134_515_008
    assert 5.0 < form.bits_per_weight < 6.0
    assert form.facts["types"].startswith("Q4_1 ")
