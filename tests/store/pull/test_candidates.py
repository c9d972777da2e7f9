"""What repositories hold, by the names that their makers give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.store.hub.client import RepoFile, Snapshot
from publican.store.pull.candidates import Candidate, candidates
from publican.store.quant_names import quant_of


def found(*names: str, revision: str = "main") -> list[Candidate]:
    files = tuple(RepoFile(name, 100 + index, None) for index, name in enumerate(names))
    return list(candidates(Snapshot("org/repo", revision, "0" * 40, files)))


def labels(*names: str) -> list[str]:
    return [one.label for one in found(*names)]


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("mythomax-l2-13b.Q4_K_M.gguf", "Q4_K_M"),
        ("Qwen2.5-7B-Instruct-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-q8_0.gguf", "Q8_0"),
        ("Llama-3-8B-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("x-bf16.gguf", "BF16"),
        ("x.fp16.gguf", "F16"),
        ("x-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("ggml-model-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("Qwen3-Q1.gguf", ""),
        ("q4-is-not-one.gguf", ""),
    ],
)
def test_quants(name: str, quant: str) -> None:
    assert quant_of(name) == quant


def test_a_gguf_repository() -> None:
    names = ["README.md", "m.Q8_0.gguf", "m.Q4_K_M.gguf", "mmproj-F16.gguf", "m.imatrix.gguf", "config.json"]
    assert labels(*names) == ["Q8_0", "Q4_K_M"]
    assert all(one.container == "gguf" and not one.beside for one in found(*names))


def test_split_files_are_one_model_wherever_they_lie() -> None:
    names = ["Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf", "Q8_0/m-00001-of-00003.gguf"]
    small, large = sorted(found(*names), key=lambda one: one.label)
    assert (small.label, len(small.weights), small.missing) == ("Q4_K_M", 2, ())
    assert (large.label, large.missing) == ("Q8_0", ("m-00002-of-00003.gguf", "m-00003-of-00003.gguf"))


def test_two_models_of_one_quant_are_told_apart_by_their_names() -> None:
    assert labels("base.Q4_0.gguf", "chat.Q4_0.gguf") == ["base.Q4_0", "chat.Q4_0"]


def test_a_folder_model_takes_what_belongs_to_it_and_nothing_else() -> None:
    names = [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "LICENSE",
        "generation_config.json", "model.bin", "modeling.py", "README.md", "pytorch_model.bin.index.json", "optimizer.pt",
        "consolidated.safetensors", "original/params.json", "onnx/model.safetensors", "adapter_model.safetensors",
    ]  # fmt: skip
    (one, pickles) = sorted(found(*names), key=lambda one: one.container, reverse=True)
    assert [file.path for file in one.weights] == ["model.safetensors"]
    assert {file.path for file in one.beside} == {
        "config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "LICENSE",
        "generation_config.json",
    }  # fmt: skip
    assert one.files[-1].path == "config.json"
    assert (pickles.container, [file.path for file in pickles.weights]) == ("pickle", ["model.bin"])


def test_shards() -> None:
    (one,) = found("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json")
    assert (len(one.weights), one.missing) == (2, ())
    (one,) = found("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors", "config.json")
    assert one.missing == ("model-00002-of-00003.safetensors",)


def test_several_safetensors_of_2023_and_branches() -> None:
    assert labels("a-4bit-128g.safetensors", "a-4bit-32g.safetensors", "config.json") == ["a-4bit-128g", "a-4bit-32g"]
    (one,) = found("output.safetensors", "config.json", revision="4.0bpw")
    assert one.label == "4.0bpw"
    quants = found("4bpw/output.safetensors", "4bpw/config.json", "6bpw/output.safetensors", "tokenizer.json")
    assert [one.label for one in quants] == ["4bpw", "6bpw"]
    assert {file.path for file in quants[0].beside} == {"4bpw/config.json", "tokenizer.json"}


def test_an_adapter_is_a_candidate_only_where_there_is_nothing_else() -> None:
    assert len(found("adapter_model.safetensors", "adapter_config.json")) == 1
    assert not found("README.md", "main.py")


@pytest.mark.parametrize(
    ("selector", "answers"), [("q4_k_m", True), ("Q4", True), ("Q4_K", True), ("ud-q4_k_m", True), ("Q5", False), ("Q", False)]
)
def test_selectors(selector: str, answers: bool) -> None:
    (one,) = found("m.Q4_K_M.gguf")
    assert one.answers_to(selector) is answers


WORDS = st.sampled_from([
    "model", "pytorch_model", "m.Q4_K_M", "m-q8_0", "adapter_model", "consolidated", "mmproj-F16", "x-00001-of-00003",
    "training_args", "x-00002-of-00003", "x-99999-of-99999", "modeling_x", "tokenizer", "config", "..", "optimizer", "output",
])  # fmt: skip
ENDINGS = st.sampled_from(
    [".safetensors", ".gguf", ".bin", ".pt", ".py", ".json", ".safetensors.index.json", "", ".GGUF", ".pth"]
)
PATHS = st.builds(
    lambda folder, word, end: f"{folder}{word}{end}", st.sampled_from(["", "", "4bpw/", "onnx/", "a/b/"]), WORDS, ENDINGS
)


@given(st.lists(PATHS, unique=True, max_size=25))
def test_whatever_a_repository_holds(names: list[str]) -> None:
    """No program is ever taken, no pickle unless as such, no file for two models; and names that differ are told apart."""
    all_found = found(*names)
    taken = [file.path for one in all_found for file in one.weights]
    assert len(taken) == len(set(taken))
    for one in all_found:
        assert one.weights
        assert not any(file.path.endswith(".py") for file in one.files)
        pickles = [file for file in one.files if file.path.endswith((".bin", ".pt", ".pth"))]
        assert bool(pickles) == (one.container == "pickle")
        assert not any("training_args" in file.path or "optimizer" in file.path for file in pickles)
        assert len({file.name for file in one.files}) == len(one.files)
        assert len(one.missing) < 100_000
    ggufs = [one.label for one in all_found if one.container == "gguf"]
    assert all(ggufs)
