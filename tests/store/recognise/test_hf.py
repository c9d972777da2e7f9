"""Every format by its tensors, whatever its configuration says or leaves out; and headers that mean nothing."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.model import TensorInfo
from publican.store.recognise.hf import SAMPLE_BYTES, recognise, samples
from tests.store.recognise import shapes
from tests.store.recognise.shapes import INPUTS, WEIGHTS


@pytest.mark.parametrize(
    ("tensors", "name"),
    [
        (shapes.gptq(), "GPTQ"),
        (shapes.gptq(order=False), "GPTQ"),
        (shapes.AWQ, "AWQ"),
        (shapes.EXL2, "EXL2"),
        (shapes.EXL3, "EXL3"),
        (shapes.COMPRESSED, "compressed-tensors"),
        (shapes.NVFP4_COMPRESSED, "NVFP4"),
        (shapes.NVFP4_MODELOPT, "NVFP4"),
        (shapes.BNB4, "bitsandbytes 4-bit"),
        (shapes.BNB8, "bitsandbytes 8-bit"),
        (shapes.FP8, "FP8"),
        (shapes.MXFP4, "MXFP4"),
        (shapes.HQQ, "HQQ"),
        (shapes.MARLIN, "Marlin"),
        (shapes.PLAIN, "plain bf16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("config", [{}, {"quant_method": "awq", "bits": 4}, {"quant_method": "gptq", "bits": "many"}])
def test_tensors_decide(tensors: dict[str, TensorInfo], name: str, config: dict[str, Any]) -> None:
    """A configuration that says otherwise is wrong, as many of 2023 are; and no weight is counted twice or not at all."""
    form = recognise(tensors, config if name != "plain bf16" else {}, {})
    assert form.name == name
    norm = shapes.tensors(norm__weight=("F16", (INPUTS,)))
    assert form.num_params == WEIGHTS
    assert recognise(tensors | norm, config if name != "plain bf16" else {}, {}).num_params == WEIGHTS + INPUTS


def test_a_method_that_only_the_configuration_knows() -> None:
    form = recognise(shapes.PLAIN, {"quant_method": "torchao"}, {})
    assert (form.name, form.facts["told by"]) == ("torchao", "its configuration alone")
    assert recognise(shapes.AQLM, {}, {}).name == "AQLM"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("group", "said"), [(32, "32"), (64, "64"), (128, "128"), (-1, "none (one for each column)")])
def test_gptq_widths_and_groups_come_from_shapes(bits: int, group: int, said: str) -> None:
    form = recognise(shapes.gptq(bits, group), {"bits": 5, "group_size": 7}, {})
    assert form.num_params == WEIGHTS
    assert (form.facts["bits"], form.facts["group size"]) == (str(bits), said)
    assert form.bits_per_weight > bits


def words(word: int, num: int = 8) -> bytes:
    return struct.pack(f"<{num}I", *[word] * num)


@pytest.mark.parametrize(
    ("bits", "word", "config", "says"),
    [
        (4, 0x77777777, {}, "symmetric, stored less one (version 1)"),
        (4, 0x88888888, {}, "symmetric, stored as they are (version 2)"),
        (8, 0x7F7F7F7F, {}, "symmetric, stored less one (version 1)"),
        (2, 0x55555555, {}, "symmetric, stored less one (version 1)"),
        (4, 0x77777777, {"checkpoint_format": "gptq_v2"}, "symmetric, stored less one (version 1)"),
        (4, 0x12345678, {}, "asymmetric, stored less one (version 1)"),
        (4, 0x12345678, {"checkpoint_format": "gptq_v2"}, "asymmetric, stored as they are (version 2)"),
    ],
)
def test_gptq_zero_points(bits: int, word: int, config: dict[str, Any], says: str) -> None:
    tensors = shapes.gptq(bits)
    (name,) = (name for name in samples(tensors) if name.endswith("qzeros"))
    assert recognise(tensors, config, {name: words(word)}).facts["zero points"] == says


def test_act_order_is_in_the_order_and_not_in_the_flag() -> None:
    tensors = shapes.gptq()
    (name,) = (name for name in samples(tensors) if name.endswith("g_idx"))
    orders = {
        "no": [i // 64 for i in range(INPUTS)],
        "yes": [i % 4 for i in range(INPUTS)],
    }
    for says, order in orders.items():
        for flag in (True, False):
            form = recognise(tensors, {"desc_act": flag}, {name: struct.pack(f"<{INPUTS}i", *order)})
            assert form.facts["act-order"] == says
    assert recognise(tensors, {}, {name: bytes(4 * INPUTS)}).facts["act-order"] == "no"
    assert recognise(tensors, {}, {}).facts["act-order"] == "perhaps"
    assert recognise(shapes.gptq(order=False), {}, {}).facts["act-order"] == "no"


def test_facts_of_the_others() -> None:
    assert recognise(shapes.EXL2, {"bits": 4.25, "head_bits": 6}, {}).facts == {
        "bits": "4.25 on the average",
        "output bits": "6",
    }
    assert recognise(shapes.EXL3, {}, {}).facts["bits of layers"] == "3"
    assert recognise(shapes.BNB4, {}, {}).facts == {"bits": "4", "type": "nf4", "scales": "quantised too"}
    assert recognise(shapes.FP8, {}, {}).facts["scales"] == "for blocks of [128, 128]"
    assert recognise(shapes.AWQ, {"version": "GEMM"}, {}).facts == {"bits": "4", "group size": "128", "variant": "gemm"}
    groups = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128, "symmetric": True}}}}
    facts = recognise(shapes.COMPRESSED, groups | {"format": "pack-quantized"}, {}).facts
    assert facts == {"bits": "4", "group size": "128", "symmetric": "True", "variant": "pack-quantized"}


ENDINGS = sorted({
    name.removeprefix("model.layers.0.mlp.up_proj.")
    for tensors in vars(shapes).values()
    if isinstance(tensors, dict)
    for name in tensors
    if name.startswith("model")
} | {"qweight", "qzeros", "scales", "g_idx"})  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bits", "weights", "num_bits", "x"]), inner),
    max_leaves=6,
)
KEYS = ["bits", "w_bit", "group_size", "version", "quant_method", "checkpoint_format", "config_groups", "quant_config",
        "weight_block_size", "head_bits", "format"]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(ENDINGS),
        st.tuples(st.sampled_from(["I32", "F16", "U8", "F8_E4M3", "I16"]), st.lists(st.integers(0, 1 << 40), max_size=4)),
        max_size=6,
    ),
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.binary(max_size=40),
)
def test_nonsense_is_named_something_and_nothing_breaks(
    entries: dict[str, tuple[str, list[int]]], config: dict[str, Any], data: bytes
) -> None:
    tensors = shapes.tensors(**{key.replace(".", "__"): (dtype, tuple(shape)) for key, (dtype, shape) in entries.items()})
    wanted = samples(tensors)
    assert all(info.num_bytes >= 0 for info in wanted.values())
    form = recognise(tensors, config, dict.fromkeys(wanted, data))
    assert form.name
    assert form.num_params >= 0
    assert all(isinstance(value, str) and len(value) < 100 for value in form.facts.values())


def test_samples_are_small() -> None:
    assert SAMPLE_BYTES <= 1 << 17
    assert len(samples(shapes.gptq())) == 2
    assert not samples(shapes.EXL2)
