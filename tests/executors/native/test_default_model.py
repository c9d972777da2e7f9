"""The real default model: it answers, and it is nearer to its own weights in float32 than libllama is.

The truth is transformers with the file's weights, dequantised by the gguf package.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from publican.executors.native.config import NativeConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import libllama, tiny

pytestmark = pytest.mark.slow

CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
)
CHAT_TOKENS = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198, 1, 4093,
    198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
]  # fmt: skip
IM_END = 2
TEXT = """\
A public house is a drinking establishment licensed to serve alcoholic drinks for consumption on the premises. The term first
appeared in England in the late 17th century, to differentiate private houses from those open to the public as alehouses,
taverns and inns. Today there is no strict definition, but a pub should be open to the public without membership or residency,
serve draught beer or cider without requiring food be consumed, have at least one indoor area not laid out for meals, and allow
drinks to be bought at a bar. Pubs are found in Australia, Canada, Ireland, New Zealand and South Africa too.

def fibonacci(n):
    a, b = 0, 1
    while a < n:
        print(a, end=' ')
        a, b = b, a + b

"I do not know," said the old man, "whether the sea is kinder than the land; but I know that neither has ever asked my leave."
He filled his pipe, slowly, and looked out over the grey water to where the gulls were turning above the wreck.
"""


@pytest.fixture(scope="module")
def executor(default_model: Path) -> NativeExecutor:
    return load(
        open_checkpoint(default_model), NativeConfig(context_len=512, num_slots=8, max_batch_tokens=512, max_logits=512)
    )


@pytest.fixture(scope="module")
def pieces(default_model: Path) -> list[str]:
    return [
        str(p).replace("Ġ", " ").replace("Ċ", "\n") for p in open_checkpoint(default_model).metadata["tokenizer.ggml.tokens"]
    ]


def greedy(drive: Drive, slot: int, logits: np.ndarray, num_tokens: int) -> list[int]:
    answer: list[int] = []
    while len(answer) < num_tokens:
        answer.append(int(logits[-1].argmax()))
        if answer[-1] == IM_END:
            break
        logits = drive.step({slot: answer[-1:]})[slot]
    return answer


def test_it_knows_the_capital_of_france(executor: NativeExecutor, pieces: list[str]) -> None:
    assert "".join(pieces[t] for t in CHAT_TOKENS) == CHAT
    drive = Drive(executor)
    answer = greedy(drive, 0, drive.step({0: CHAT_TOKENS})[0], 20)
    assert "".join(pieces[t] for t in answer) == "The capital of France is Paris.<|im_end|>"
    drive.free(0)
    drive.executor.execute(drive.plan({}))


def test_greedy_text_is_the_same_alone_and_among_eight(executor: NativeExecutor) -> None:
    """In chunks, from a shared prefix, beside others that compute something else. Three of them are computed alone, too."""
    drive = Drive(executor)
    prompts = {slot: [*CHAT_TOKENS[:24], 1780 + 31 * slot, *CHAT_TOKENS[25:]] for slot in range(8)}
    alone = {}
    for slot in (0, 3, 7):
        alone[slot] = greedy(drive, slot, drive.step({slot: prompts[slot]})[slot], 8)
        drive.free(slot)
    drive.step({0: prompts[0][:24]}, num_logits=0)
    for slot in range(1, 8):
        drive.share(0, slot, 24)
    logits = drive.step({slot: prompt[24:] for slot, prompt in prompts.items()})
    together: dict[int, list[int]] = {slot: [] for slot in prompts}
    for _ in range(8):
        for slot in logits:
            together[slot].append(int(logits[slot][-1].argmax()))
        running = {slot: text[-1:] for slot, text in together.items() if text[-1] != IM_END}
        if not running:
            break
        logits = drive.step(running)
    for slot, text in alone.items():
        assert together[slot][: len(text)] == text
    for slot in prompts:
        drive.free(slot)
    drive.executor.execute(drive.plan({}))


def test_it_is_nearer_to_its_own_weights_than_libllama(executor: NativeExecutor, default_model: Path) -> None:
    tokens = _tokenised(default_model, TEXT)
    truth = tiny.logits(_in_transformers(default_model), tokens)
    drive = Drive(executor)
    ours = drive.step({0: tokens}, num_logits=None)[0]
    drive.free(0)
    drive.executor.execute(drive.plan({}))
    theirs = libllama.logits(default_model, tokens, context_len=512)
    our_divergence, our_agreement = divergence(truth, ours)
    their_divergence, their_agreement = divergence(truth, theirs)
    print(f"{len(tokens)} tokens; KL {our_divergence:.3g} here, {their_divergence:.3g} in libllama; "
          f"top-1 {our_agreement:.4f} here, {their_agreement:.4f} in libllama")  # fmt: skip
    assert our_divergence < 1e-7
    assert our_agreement == 1.0
    assert our_divergence < their_divergence / 1000
    assert our_agreement >= their_agreement


def test_so_is_the_cpu_backend_though_it_multiplies_in_int8(executor: NativeExecutor, default_model: Path) -> None:
    """What is served by default: activations in int8, the last matrix in bf16. `plain` is the truth, as was seen above."""
    tokens = _tokenised(default_model, TEXT)
    drive = Drive(executor)
    truth = drive.step({0: tokens}, num_logits=None)[0]
    drive.free(0)
    drive.executor.execute(drive.plan({}))
    config = NativeConfig(backend="cpu", context_len=512, num_slots=1, max_batch_tokens=512, max_logits=512)
    fast = load(open_checkpoint(default_model), config)
    ours = Drive(fast).step({0: tokens}, num_logits=None)[0]
    fast.close()
    our_divergence, our_agreement = divergence(truth, ours)
    their_divergence, their_agreement = divergence(truth, libllama.logits(default_model, tokens, context_len=512))
    assert our_divergence < min(0.004, their_divergence)
    assert our_agreement >= their_agreement


def divergence(truth: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """KL(truth ‖ other) in nats, and how often both like the same token best; means over positions."""
    p, q = (_log_softmax(x.astype(np.float64)) for x in (truth, other))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean()), float((p.argmax(1) == q.argmax(1)).mean())


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def _tokenised(path: Path, text: str) -> list[int]:
    llama = pytest.importorskip("llama_cpp", exc_type=ImportError)
    with libllama.silent():
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.vocab_only = True
        model = llama.llama_model_load_from_file(str(path).encode(), params)
    raw, buffer = text.encode(), (ctypes.c_int32 * 1000)()
    count = llama.llama_tokenize(llama.llama_model_get_vocab(model), raw, len(raw), buffer, 1000, False, False)
    llama.llama_model_free(model)
    return list(buffer[:count])


def _in_transformers(path: Path) -> Any:
    tiny.quiet()
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    names = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type)))
        stem = tensor.name.removesuffix(".weight")
        if stem.startswith("blk."):
            _, layer, kind = stem.split(".")
            heads = {"attn_q": 9, "attn_k": 3}.get(kind)
            if heads:
                values = values.reshape(heads, 32, 2, 576).swapaxes(1, 2).reshape(-1, 576)
            state[f"model.layers.{layer}.{names[kind]}.weight"] = values
        else:
            state[{"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[stem]] = values
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(("kv_type", "limit"), [("q8", 0.004), ("q4", 0.1)])
def test_a_cache_of_few_bits_strays_only_so_far(
    executor: NativeExecutor, default_model: Path, kv_type: Any, limit: float
) -> None:
    """Beside the float32 cache of the same backend; and it still knows its capital."""
    config = NativeConfig(context_len=512, num_slots=1, max_batch_tokens=512, max_logits=512, kv_dtype=kv_type)
    drive, exact = Drive(load(open_checkpoint(default_model), config)), Drive(executor)
    tokens = _tokenised(default_model, TEXT)
    got, expected = (each.step({0: tokens}, num_logits=None)[0] for each in (drive, exact))
    strayed, agreement = divergence(expected, got)
    assert 1e-6 < strayed < limit
    assert agreement > 0.8
    exact.free(0)
    exact.executor.execute(exact.plan({}))
    drive.free(0)
    answer = [504, 3575, 282, 4649, 314, 7042]  # The capital of France is Paris
    logits = drive.step({0: [*CHAT_TOKENS, *answer]}, num_logits=2)[0]
    assert int(logits[0].argmax()) == answer[-1]
    drive.executor.close()
