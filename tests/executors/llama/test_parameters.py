import pytest

from publican.core.errors import UnsupportedModel
from publican.core.model import Rope, RopeScaling
from publican.executors.llama import LlamaConfig
from publican.executors.llama.parameters import context_parameters, model_parameters, rope_parameters


def test_there_are_never_fewer_outputs_than_sequences():
    assert context_parameters(LlamaConfig(max_logits=4), 1024, 32, 1)["n_outputs_max"] == 32
    assert context_parameters(LlamaConfig(max_logits=64), 1024, 32, 1)["n_outputs_max"] == 64


def test_a_round_is_never_larger_than_a_plan():
    assert context_parameters(LlamaConfig(max_batch_tokens=8), 1024, 1, 1)["n_ubatch"] == 8


def test_kv_types_and_load_modes():
    assert context_parameters(LlamaConfig(kv_dtype="q8"), 256, 1, 1)["type_k"] == 8
    assert model_parameters(LlamaConfig())["load_mode"] == -1
    assert model_parameters(LlamaConfig(mmap=False, mlock=True))["load_mode"] == 2


def test_linear_and_ntk():
    linear = rope_parameters(Rope(10_000.0, 64, RopeScaling("linear", factor=4.0)))
    assert (linear["rope_freq_scale"], linear["rope_freq_base"]) == (0.25, 10_000.0)
    ntk = rope_parameters(Rope(10_000.0, 64, RopeScaling("ntk", alpha=2.0)))
    assert ntk["rope_freq_base"] == pytest.approx(10_000 * 2 ** (64 / 62))
    assert ntk["rope_freq_scale"] == 1.0


def test_yarn():
    scaling = RopeScaling("yarn", factor=8.0, original_context_len=4096, beta_fast=16.0)
    yarn = rope_parameters(Rope(10_000.0, 64, scaling))
    assert (yarn["rope_freq_scale"], yarn["yarn_orig_ctx"], yarn["yarn_beta_fast"]) == (0.125, 4096, 16.0)


@pytest.mark.parametrize(
    "scaling",
    [RopeScaling("llama3"), RopeScaling("dynamic"), RopeScaling("longrope"), RopeScaling("yarn", attention_factor=1.2)],
)
def test_what_libllama_cannot_be_told_is_refused(scaling):
    with pytest.raises(UnsupportedModel, match=scaling.kind):
        rope_parameters(Rope(10_000.0, 64, scaling))
