"""The same shapes as transformers runs them, where it is installed: bfloat16 weights, and steps as its `generate` takes them.

That is without CUDA graphs and with a cache that grows by a token, which is its default. libllama is in `shape_llama`.
exllamav2 and exllamav3 take weights from files of their own and run on cards only; code for them that nobody could try would be
worth nothing, so they are not here. Never run on a card so far.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from publican.bench.kernels import Ceilings
from publican.bench.shape_times import ShapeConfig, StepTime, decode_floor_s, kv_bytes, prompt_floor_s
from publican.bench.shapes import num_parameters
from publican.core.model import ModelSpec

Progress = Callable[[str], None]
Step = Callable[[], torch.Tensor]
"""Gives logits, as soon as they are on their way."""

_SPARE_BYTES = 4 << 30


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def time_transformers(spec: ModelSpec, config: ShapeConfig, ceilings: Ceilings, tell: Progress) -> tuple[int, list[StepTime]]:
    """Bytes of the weights, and the cases that `shape_times.time_shape` has."""
    device = torch.device(config.backend.devices[0])
    weight_bytes = 2 * (num_parameters(spec) + spec.vocab_size * spec.hidden_size)
    room = _free_bytes(device, config) - weight_bytes if device.type == "cuda" else None
    if room is not None and room < 0:
        return weight_bytes, [StepTime("all", left_out="its weights in bfloat16 do not fit here")]
    tell("transformers: making weights")
    model = _model(spec, device)
    times = []
    for context in config.contexts:
        for size in config.batch_sizes:
            name = f"decode, {size} × {context:,}"
            tell(f"transformers: {name}")
            if room is not None and 2 * kv_bytes(spec, size * (context + config.num_steps)) > room:
                times.append(StepTime(name, left_out="there is no room for its cache, twice while it grows"))
                continue
            seconds = _seconds(_decoding_step(model, device, size, context), config.num_steps)
            floor_s = decode_floor_s(spec, weight_bytes, (size, context), ceilings)
            times.append(StepTime(name, seconds, size / seconds, floor_s / seconds))
    if length := config.prompt_len:
        tell(f"transformers: a prompt of {length:,}")
        seconds = _seconds(_prompt_step(model, device, length), max(2, config.num_steps // 4))
        times.append(
            StepTime(f"prompt of {length:,}", seconds, length / seconds, prompt_floor_s(spec, length, ceilings) / seconds)
        )
    return weight_bytes, times


def _free_bytes(device: torch.device, config: ShapeConfig) -> int:
    return (config.memory_bytes or torch.cuda.mem_get_info(device)[0]) - _SPARE_BYTES


def _model(spec: ModelSpec, device: torch.device) -> Any:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.LlamaConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.ffn_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.context_len,
        rms_norm_eps=spec.norm_eps,
        tie_word_embeddings=False,
    )
    with device:
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def _decoding_step(model: Any, device: torch.device, size: int, context: int) -> Step:
    """A token for each of `size` sequences, whose context grows from `context`. What it holds is random."""
    config = model.config
    cache: Any = importlib.import_module("transformers").DynamicCache()
    shape = size, config.num_key_value_heads, context - 1, config.head_dim
    for layer in range(config.num_hidden_layers):
        keys, values = (torch.randn(shape, dtype=model.dtype, device=device) for _ in range(2))
        cache.update(keys, values, layer)
    return partial(_logits, model, torch.full((size, 1), 7, device=device), cache)


def _prompt_step(model: Any, device: torch.device, length: int) -> Step:
    return partial(_logits, model, torch.arange(length, device=device)[None] % 97, None)


def _logits(model: Any, tokens: torch.Tensor, cache: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits


def _seconds(step: Step, num_steps: int) -> float:
    """Median of whole steps, after three."""
    times = []
    for _ in range(num_steps + 3):
        begin = time.perf_counter()
        float(step()[0, 0, 0])  # waits
        times.append(time.perf_counter() - begin)
    return statistics.median(times[3:])
