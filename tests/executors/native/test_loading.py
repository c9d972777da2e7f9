"""Loading: what is refused and how, what is filled in, and that tensors come one at a time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError, ModelFileError, OutOfMemory, SettingsError, UnsupportedModel
from publican.core.executor import Pages
from publican.core.model import Checkpoint, ModelSpec, Rope, RopeScaling
from publican.executors.native import plain
from publican.executors.native.config import NativeConfig
from publican.executors.native.loading import describe, load, objection
from publican.executors.native.program import Embed, Logits, Program
from publican.executors.native.rope import rope_table
from tests.executors.drive import Drive
from tests.executors.native.stored import infos

SPEC = ModelSpec("llama", 2, 16, 24, 4, 2, 4, 50, 64, 1e-5, Rope(1e4, 4), tied=True)
SMALL = NativeConfig(context_len=32, num_slots=2)
Arrays = dict[str, np.ndarray]


def arrays(spec: ModelSpec = SPEC) -> Arrays:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (spec.vocab_size, 16), "model.norm": (16,)}
    for i in range(spec.num_layers):
        layer = {
            "input_layernorm": (16,), "post_attention_layernorm": (16,), "self_attn.q_proj": (16, 16),
            "self_attn.k_proj": (8, 16), "self_attn.v_proj": (8, 16), "self_attn.o_proj": (16, 16),
            "mlp.gate_proj": (24, 16), "mlp.up_proj": (24, 16), "mlp.down_proj": (16, 24),
        }  # fmt: skip
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def checkpoint(folder: Path, found: Arrays | None = None, spec: ModelSpec | None = SPEC, **changes: Any) -> Checkpoint:
    tensors = infos(folder, arrays() if found is None else found)
    made = Checkpoint("tiny", folder, "safetensors", spec, tensors, {"model_type": "llama"})
    return dataclasses.replace(made, **changes)


def test_zeros_are_filled_in(tmp_path: Path) -> None:
    info = load(checkpoint(tmp_path), NativeConfig(num_slots=3, page_len=8)).info
    assert (info.context_len, info.memory) == (64, Pages(8, 24))
    assert (info.loader, info.device, info.vocab_size, info.hidden_size) == ("native", "cpu (NumPy)", 50, 16)


def test_nothing_runs_after_closing(tmp_path: Path) -> None:
    drive = Drive(load(checkpoint(tmp_path), SMALL))
    drive.executor.close()
    with pytest.raises(EngineError, match="closed"):
        drive.step({0: [1]})


def test_progress_ends_at_all_tensors(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    load(checkpoint(tmp_path), SMALL, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (20, 20)
    assert len(set(seen)) > 15


def test_tensors_that_nobody_needs_are_done_too(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    extra = arrays() | {"model.rotary_emb.inv_freq": np.zeros(2, np.float32)}
    extra |= {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(2, np.float32)}
    load(checkpoint(tmp_path, extra), SMALL, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (22, 22)


def test_operations_are_made_as_they_are_asked_for(tmp_path: Path) -> None:
    done: list[int] = []
    program, _, _ = describe(checkpoint(tmp_path), SMALL, lambda n, total: done.append(n))
    assert not done
    operations = iter(program.ops)
    first = next(operations)
    assert isinstance(first, Embed)
    assert done == [1]
    *_, last = operations
    assert isinstance(last, Logits)
    assert last.weight is first.table  # tied: the very same object


def test_positions_can_be_overridden(tmp_path: Path) -> None:
    rope = Rope(1e4, 4, RopeScaling("ntk", alpha=2.6))
    program, _, _ = describe(checkpoint(tmp_path), dataclasses.replace(SMALL, rope=rope))
    np.testing.assert_array_equal(program.ropes[0].cos, rope_table(rope, 32).cos)


def test_a_ggufs_own_factors_are_found(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, rope=Rope(1e4, 4, RopeScaling("longrope", 2.0, original_context_len=16)))
    short, long = np.array([1, 2], np.float32), np.array([3, 4], np.float32)
    found = {
        "rope_factors_short.weight": short,
        "rope_factors_long.weight": long,
        "token_embd.weight": np.zeros((50, 16), "f4"),
    }
    made = checkpoint(tmp_path, found, spec, format="gguf")
    tables = [describe(made, dataclasses.replace(SMALL, context_len=length))[0].ropes[0] for length in (16, 32)]
    for table, factors in zip(tables, (short, long), strict=True):
        frequencies = 1e4 ** (-np.arange(0, 4, 2) / 4) / factors
        np.testing.assert_allclose(np.arctan2(table.sin[1], table.cos[1]), frequencies, rtol=1e-5)
    del found["rope_factors_short.weight"]
    with pytest.raises(ModelFileError, match="rotary factors"):
        describe(checkpoint(tmp_path, found, spec, format="gguf"), SMALL)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_pages": 1}, "less than one context"),
        ({"num_slots": 0}, "positive"),
        ({"page_len": 0}, "positive"),
        ({"max_batch_tokens": -1}, "positive"),
        ({"backend": "abacus"}, "no backend"),
        ({"kv_dtype": "bf16"}, "f32, q8 or q4"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        load(checkpoint(tmp_path), dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("container", ["gguf", "safetensors"])
def test_an_unknown_architecture_is_named_with_a_way_out(tmp_path: Path, container: Any) -> None:
    metadata = {"general.architecture": "grok", "model_type": "grok"}
    for spec in (None, dataclasses.replace(SPEC, architecture="grok")):
        with pytest.raises(UnsupportedModel, match=r"grok.*llama"):
            load(checkpoint(tmp_path, spec=spec, format=container, metadata=metadata), SMALL)


UNREAD = {
    "bitsandbytes 4-bit": ("model.layers.0.mlp.up_proj.weight.absmax", np.zeros(4, np.float32)),
    "bitsandbytes 8-bit": ("model.layers.0.mlp.up_proj.SCB", np.zeros(4, np.float32)),
    "HQQ": ("model.layers.0.mlp.up_proj.W_q", np.zeros((4, 4), np.uint8)),
    "NVFP4": ("model.layers.0.mlp.up_proj.weight_scale_2", np.zeros(1, np.float32)),
    "MXFP4": ("model.layers.0.mlp.experts.down_proj_blocks", np.zeros((4, 4), np.uint8)),
    "AQLM": ("model.layers.0.mlp.up_proj.codebooks", np.zeros((4, 4), np.float32)),
    "8-bit integers": ("model.layers.0.mlp.up_proj.weight", np.zeros((24, 16), np.int8)),
}


@pytest.mark.parametrize("what", UNREAD)
def test_formats_that_are_not_read_are_named(tmp_path: Path, what: str) -> None:
    name, array = UNREAD[what]
    with pytest.raises(UnsupportedModel, match=rf"{what}.*pull"):
        load(checkpoint(tmp_path, arrays() | {name: array}), SMALL)


def test_fp8_is_named(tmp_path: Path) -> None:
    made = checkpoint(tmp_path)
    tensors = dict(made.tensors)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = dataclasses.replace(tensors[name], dtype="F8_E4M3")
    with pytest.raises(UnsupportedModel, match="FP8"):
        load(dataclasses.replace(made, tensors=tensors), SMALL)


@pytest.mark.parametrize(
    "extra", ["model.layers.1.self_attn.sinks", "model.layers.0.mlp.gate_proj.bias", "model.layers.0.moe.gate.weight"]
)
def test_a_layer_with_something_unknown_is_refused(tmp_path: Path, extra: str) -> None:
    with pytest.raises(UnsupportedModel, match=extra):
        load(checkpoint(tmp_path, arrays() | {extra: np.ones(4, np.float32)}), SMALL)


def test_biases_of_zeros_do_no_harm(tmp_path: Path) -> None:
    """GPTQ files of 2023 have one for every matrix."""
    (tmp_path / "a").mkdir()
    zeros = {f"model.layers.{i}.mlp.{n}_proj.bias": np.zeros(24, np.float32) for i in (0, 1) for n in ("gate", "up")}
    zeros |= {f"model.layers.{i}.self_attn.o_proj.bias": np.zeros(16, np.float32) for i in (0, 1)}
    plain_one = Drive(load(checkpoint(tmp_path), SMALL)).step({0: [1, 2, 3]})[0]
    with_zeros = Drive(load(checkpoint(tmp_path / "a", arrays() | zeros), SMALL)).step({0: [1, 2, 3]})[0]
    np.testing.assert_array_equal(plain_one, with_zeros)


def test_an_experimental_format_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = dataclasses.replace(SPEC, hidden_size=128, ffn_size=128, num_heads=2, num_kv_heads=2, head_dim=64, num_layers=1)
    spec = dataclasses.replace(spec, rope=Rope(1e4, 64))
    found: Arrays = {"model.embed_tokens.weight": np.ones((50, 128), np.float16)}
    for norm in ("norm", "layers.0.input_layernorm", "layers.0.post_attention_layernorm"):
        found[f"model.{norm}.weight"] = np.ones(128, np.float16)
    for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"):
        module = f"model.layers.0.{name}_proj"
        found |= {f"{module}.trellis": np.ones((8, 8, 32), np.int16)}
        found |= {f"{module}.{signs}": np.ones(128, np.float16) for signs in ("suh", "svh")}
    load(checkpoint(tmp_path, found, spec), SMALL)
    (record,) = caplog.records
    assert "EXL3" in record.message
    assert "experimental" in record.message
    caplog.clear()
    load(checkpoint(tmp_path), SMALL)
    assert not caplog.records


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I32", "F64", "Q4_0", "F8_E4M3", "", "U8"]),
        "shape": st.lists(st.integers(-3, 1 << 40), max_size=3).map(tuple),
        "offset": st.integers(-10, 1 << 50),
        "num_bytes": st.integers(-10, 1 << 50),
        "file": st.sampled_from([Path("absent"), Path("/")]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_header_is_a_known_error(tmp_path: Path, data: st.DataObject) -> None:
    made = checkpoint(tmp_path)
    tensors = dict(made.tensors)
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3)):
        tensors[name] = dataclasses.replace(tensors[name], **data.draw(HEADERS))
    with contextlib.suppress(ModelFileError, UnsupportedModel):
        load(dataclasses.replace(made, tensors=tensors), SMALL)


def test_an_objection_comes_from_headers_alone(tmp_path: Path) -> None:
    made = checkpoint(tmp_path)
    (tmp_path / "tensors.bin").unlink()
    assert objection(made) is None
    assert objection(dataclasses.replace(made, spec=dataclasses.replace(SPEC, context_len=1 << 40))) is None
    assert "grok" in str(objection(dataclasses.replace(made, spec=None, metadata={"model_type": "grok"})))
    name = "model.layers.0.mlp.up_proj.weight"
    for container, dtype in (("gguf", "IQ4_XS"), ("safetensors", "F8_E4M3")):
        tensors = dict(made.tensors) | {name: dataclasses.replace(made.tensors[name], dtype=dtype)}
        assert objection(dataclasses.replace(made, format=container, tensors=tensors))  # type: ignore[arg-type]


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda found: {k: v for k, v in found.items() if k != name}


@pytest.mark.parametrize(
    "damage",
    [
        without("model.layers.1.mlp.down_proj.weight"),
        without("model.norm.weight"),
        without("model.layers.0.input_layernorm.weight"),
        lambda a: a | {"model.layers.0.mlp.up_proj.weight": np.zeros((24, 15), np.float32)},
        lambda a: a | {"model.layers.0.mlp.up_proj.weight": np.zeros((24, 16, 1), np.float32)},
        lambda a: a | {"model.layers.0.mlp.up_proj.weight": np.zeros((24, 16), np.int32)},
        lambda a: a | {"model.layers.0.self_attn.q_proj.bias": np.zeros(15, np.float32)},
        lambda a: a | {"model.norm.weight": np.zeros((16, 1), np.float32)},
        lambda a: a | {"model.embed_tokens.weight": np.zeros((51, 16), np.float32)},
    ],
)
def test_damage_is_a_model_file_error(tmp_path: Path, damage: Callable[[Arrays], Arrays]) -> None:
    with pytest.raises(ModelFileError) as caught:
        load(checkpoint(tmp_path, damage(arrays())), SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 1000])
def test_a_truncated_file_is_a_model_file_error(tmp_path: Path, kept: int) -> None:
    made = checkpoint(tmp_path)
    file = tmp_path / "tensors.bin"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelFileError):
        load(made, SMALL)


def test_memory_that_does_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(program: Program, config: NativeConfig) -> None:
        raise MemoryError

    monkeypatch.setattr(plain, "make_backend", too_much)
    with pytest.raises(OutOfMemory, match="smaller"):
        load(checkpoint(tmp_path), SMALL)


def test_some_biases_and_not_others(tmp_path: Path) -> None:
    """A bias that is missing is zero."""
    bias = np.random.default_rng(1).normal(size=8).astype(np.float32)
    some = arrays() | {"model.layers.0.self_attn.v_proj.bias": bias}
    all_three = some | {
        "model.layers.0.self_attn.q_proj.bias": np.zeros(16, np.float32),
        "model.layers.0.self_attn.k_proj.bias": np.zeros(8, np.float32),
    }
    logits = []
    for i, found in enumerate((arrays(), some, all_three)):
        (tmp_path / str(i)).mkdir()
        logits.append(Drive(load(checkpoint(tmp_path / str(i), found), SMALL)).step({0: [1, 2, 3]})[0])
    np.testing.assert_array_equal(logits[1], logits[2])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
