"""LoRA adapters as PEFT saves them: sound ones, ones that cannot be applied as they were trained, and hostile ones."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.store.adapter import open_adapter
from tests.store import safetensors_bytes

Q = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
GOOD = {f"{Q}.lora_A.weight": [2, 6], f"{Q}.lora_B.weight": [5, 2]}


def write(folder: Path, shapes: dict[str, list[int]] | None = None, dtype: str = "F32", **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    size = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}[dtype]
    tensors = {
        name: (dtype, shape, bytes(size * int(np.prod(shape)))) for name, shape in (GOOD if shapes is None else shapes).items()
    }
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes.build(tensors))
    return folder


def test_a_sound_one(tmp_path: Path) -> None:
    adapter = open_adapter(write(tmp_path, base_model_name_or_path="org/base"), "poet")
    (module,) = adapter.modules
    assert (adapter.name, adapter.base, adapter.path) == ("poet", "org/base", tmp_path)
    assert (module.name, module.down.shape, module.up.shape) == (Q.removeprefix("base_model.model."), (2, 6), (5, 2))
    assert module.scale == 4.0
    assert adapter.num_bytes == 4 * (12 + 10)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, 8 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 3}}, 1.5),
        ({"alpha_pattern": {"_proj": 3, "proj": 4}}, 4.0),  # only whole parts of a name
        ({"alpha_pattern": {"^q_proj": 3}}, 4.0),  # from the beginning
        ({"alpha_pattern": {r"^model\.layers\.0.self_attn.q_proj$": 1.0}}, 0.5),
        ({"rank_pattern": {"q_proj": 2}, "r": 64}, 4.0),  # the tensor itself tells its rank
        ({"lora_alpha": 0}, 0.0),
    ],
)
def test_scales(config: dict[str, Any], scale: float, tmp_path: Path) -> None:
    assert open_adapter(write(tmp_path, **config), "poet").modules[0].scale == pytest.approx(scale)


def test_names_as_some_save_them(tmp_path: Path) -> None:
    shapes = {name.replace(".weight", ".default.weight").removeprefix("base_model.model."): s for name, s in GOOD.items()}
    assert open_adapter(write(tmp_path, shapes), "poet").modules[0].name == "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"peft_type": None}, "None"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "biases"),
        ({"lora_bias": True}, "biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"trainable_token_indices": [1]}, "token embeddings"),
        ({"layer_replication": [[0, 2]]}, "repeated layers"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "experts"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"alpha_pattern": {"(a+)+$": 1}}, r"\(a\+\)\+"),
        ({"use_dora": True, "bias": "all"}, "DoRA, biases"),
    ],
)
def test_what_is_not_applied_is_refused_by_name(config: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=text):
        open_adapter(write(tmp_path, **config), "poet")


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        f"{Q}.lora_magnitude_vector",
        "base_model.model.lm_head.weight",
        f"{Q}.lora_A.bias",
        "../../x.lora_A.weight",
    ],
)
def test_tensors_that_are_not_applied_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel) as error:
        open_adapter(write(tmp_path, GOOD | {name: [2, 6]}), "poet")
    assert name in str(error.value)


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {f"{Q}.lora_A.weight": [2, 6]},
        {f"{Q}.lora_A.weight": [2, 6], f"{Q}.lora_B.weight": [5, 3]},
        {f"{Q}.lora_A.weight": [2, 6], f"{Q}.lora_B.weight": [5]},
        {f"{Q}.lora_A.weight": [2, 3, 2], f"{Q}.lora_B.weight": [5, 2]},
        {f"{Q}.lora_A.weight": [0, 6], f"{Q}.lora_B.weight": [5, 0]},
        {f"{Q}.lora_A.weight": [5000, 1], f"{Q}.lora_B.weight": [1, 5000]},
        GOOD | {f"{Q}.lora_A.default.weight": [2, 6]},
    ],
)
def test_damaged_tensors(shapes: dict[str, list[int]], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        open_adapter(write(tmp_path, shapes), "poet")


@pytest.mark.parametrize("alpha", ["8", True, float("nan"), float("inf"), 1e300, [], None])
def test_alphas_that_are_no_numbers(alpha: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="alpha"):
        open_adapter(write(tmp_path, lora_alpha=alpha), "poet")
    with pytest.raises(ModelFileError, match="alpha"):
        open_adapter(write(tmp_path, alpha_pattern={"q_proj": alpha}), "poet")


def test_integers_are_not_weights(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="I8"):
        open_adapter(write(tmp_path, dtype="I8"), "poet")


def test_what_is_no_adapter(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ModelFileError, match=r"adapter_config\.json and adapter_model"):
            open_adapter(path, "poet")
    with pytest.raises(UnsupportedModel, match="GGUF"):
        open_adapter(tmp_path / "poet.gguf", "poet")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFileError, match="none of its weights"):
        open_adapter(tmp_path, "poet")
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80")
    with pytest.raises(ModelFileError, match="pickle"):
        open_adapter(tmp_path, "poet")


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_is_in_the_files_ends_in_a_sentence(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write(tmp_path_factory.getbasetemp() / "fuzzed")
    junk = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    )
    keys = st.sampled_from([*CONFIG, "alpha_pattern", "use_rslora", "base_model_name_or_path", "init_lora_weights"])
    config = CONFIG | data.draw(st.dictionaries(keys, junk, max_size=3))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(weights) - 1), st.integers(0, 255)), max_size=4)):
        weights[place] = value
    end = data.draw(st.integers(0, len(weights)) | st.just(len(weights)))
    (folder / "adapter_model.safetensors").write_bytes(weights[:end])
    with suppress(ModelFileError, UnsupportedModel):
        adapter = open_adapter(folder, "poet")
        assert all(np.isfinite(module.scale) for module in adapter.modules)
