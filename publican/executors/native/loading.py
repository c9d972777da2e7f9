"""`load`: from a described checkpoint to an executor that runs.

Files are mapped, tensors are turned into the backend's form one after another, and nothing else stays. Runs on the thread
that will own the executor, and blocks it for seconds to minutes; `progress` says how far it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from publican.core.errors import ModelFileError, OutOfMemory, SettingsError, UnsupportedModel
from publican.core.executor import ExecutorInfo, Pages, num_windowed_pages
from publican.core.model import Adapter, Checkpoint, ModelSpec, Rope
from publican.executors.native.adapters import Adapters
from publican.executors.native.batch import Backend
from publican.executors.native.config import NativeConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.experts_apart import experts_apart
from publican.executors.native.families import FAMILIES
from publican.executors.native.families.build import build
from publican.executors.native.formats.gguf import refuse_unread_types
from publican.executors.native.formats.refusals import refuse_unread_formats
from publican.executors.native.program import Program, RopeTable
from publican.executors.native.rope import rope_table
from publican.executors.native.weights import Progress, Weights

_BACKENDS: Mapping[str, str] = {name: f"publican.executors.native.{name}" for name in ("plain", "cpu", "cuda")}


class _BackendModule(Protocol):
    def make_backend(self, program: Program, config: NativeConfig) -> Backend: ...


def load(
    checkpoint: Checkpoint,
    config: NativeConfig,
    progress: Progress | None = None,
    adapters: Sequence[Adapter] = (),
) -> NativeExecutor:
    """Load a model.

    Args:
        adapters: loaded beside it; a row's adapter is a place in these.
        progress: called with the number of tensors done and of all, on this thread.

    Raises:
        UnsupportedModel: the architecture or the format is not one that runs here; the text says what to take instead.
        ModelFileError: the files are damaged.
        SettingsError: the config contradicts itself, or names a backend that is not here.
        OutOfMemory: it does not fit.
    """
    try:
        program, info, filled = describe(checkpoint, config, progress, adapters)
        backend = _backend_module(config.backend).make_backend(program, filled)
    except MemoryError as error:
        raise OutOfMemory(f"The memory does not suffice to load {checkpoint.name}; take a smaller model or context.") from error
    if progress is not None:
        num_tensors = len(experts_apart(checkpoint.tensors))
        progress(num_tensors, num_tensors)
    return NativeExecutor(dataclasses.replace(info, device=backend.device), backend)


def objection(checkpoint: Checkpoint, adapters: Sequence[Adapter] = ()) -> str | None:
    """Why a model cannot be loaded here with these adapters, from headers alone; None if nothing speaks against it.

    Raises:
        ModelFileError: the files are damaged, whoever loads them.
    """
    try:
        describe(
            checkpoint, NativeConfig(context_len=16, num_slots=1), None, adapters
        )  # no context too long: that does not matter here
    except UnsupportedModel as error:
        return str(error)
    return None


def describe(
    checkpoint: Checkpoint, config: NativeConfig, progress: Progress | None = None, adapters: Sequence[Adapter] = ()
) -> tuple[Program, ExecutorInfo, NativeConfig]:
    """The program of a model, the measures of its executor, and the config with every 0 filled in.

    Raises what `load` raises.
    """
    spec = _spec_of(checkpoint)
    config = _filled(config, spec)
    refuse = refuse_unread_formats if checkpoint.format == "safetensors" else refuse_unread_types
    refuse(checkpoint.tensors)
    family = FAMILIES[spec.architecture]
    weights = Weights(checkpoint, family, progress)
    weights.check_layers()
    known = Adapters(adapters, spec, family, weights)
    program = build(spec, family, weights, _ropes(spec, weights, config), known)
    config = _with_windows(config, program)
    info = ExecutorInfo(
        loader="native",
        device="",
        vocab_size=spec.vocab_size,
        context_len=config.context_len,
        num_slots=config.num_slots,
        max_batch_tokens=config.max_batch_tokens,
        max_logits=config.max_logits,
        memory=_memory(config, program),
        hidden_size=spec.hidden_size,
        num_adapters=len(adapters),
    )
    return program, info, config


def _spec_of(checkpoint: Checkpoint) -> ModelSpec:
    spec = checkpoint.spec
    if spec is not None and spec.architecture in FAMILIES:
        return spec
    key = "general.architecture" if checkpoint.format == "gguf" else "model_type"
    name = spec.architecture if spec is not None else checkpoint.metadata.get(key, "unknown")
    known = ", ".join(sorted(FAMILIES))
    instead = "load it with the llama loader" if checkpoint.format == "gguf" else "pull a GGUF of it for the llama loader"
    raise UnsupportedModel(
        f"{checkpoint.name} is of the architecture {str(name)[:40]!r} or a variant that the native loader does not run "
        f"(it runs {known}); {instead}."
    )


def _filled(config: NativeConfig, spec: ModelSpec) -> NativeConfig:
    """Every 0 that means "what is usual" as a number."""
    counts = (
        "context_len",
        "num_slots",
        "num_pages",
        "num_windowed_pages",
        "page_len",
        "max_batch_tokens",
        "max_logits",
        "num_threads",
    )
    if any(getattr(config, name) < 0 for name in counts) or not all(
        (config.num_slots, config.page_len, config.max_batch_tokens)
    ):
        raise SettingsError("The context, the slots, the pages and the tokens per step must be positive numbers.")
    context_len = config.context_len or spec.context_len
    pages_per_slot = -(-context_len // config.page_len)
    num_pages = config.num_pages or pages_per_slot * config.num_slots
    if num_pages < pages_per_slot:
        raise SettingsError(
            f"The memory has room for {num_pages * config.page_len:,} tokens, less than one context of {context_len:,}; "
            "ask for a shorter context."
        )
    return dataclasses.replace(config, context_len=context_len, num_pages=num_pages)


def _with_windows(config: NativeConfig, program: Program) -> NativeConfig:
    """Where layers have a window, pages for them: what each conversation needs that `num_pages` has room for at full length.

    If all have, the other pages hold nothing, and so many are there that they are never what is short.
    """
    if not program.window:
        return dataclasses.replace(config, num_windowed_pages=0)
    per_slot = -(-config.context_len // config.page_len)
    least = num_windowed_pages(program.window, config.context_len, config.max_batch_tokens, config.page_len)
    num_windowed = config.num_windowed_pages or -(-config.num_pages // per_slot) * least
    num_pages = config.num_pages
    if not program.num_kv_layers(True)[0]:
        num_pages += config.num_slots * per_slot
    return dataclasses.replace(config, num_pages=num_pages, num_windowed_pages=max(least, num_windowed))


def _memory(config: NativeConfig, program: Program) -> Pages:
    window = program.window if config.num_windowed_pages else 0
    return Pages(config.page_len, config.num_pages, window, config.num_windowed_pages)


def _ropes(spec: ModelSpec, weights: Weights, config: NativeConfig) -> tuple[RopeTable, ...]:
    rope = _with_file_factors(config.rope or spec.rope, weights)
    tables = [rope_table(rope, config.context_len, weights.loose("rope_freqs.weight"))]
    if spec.local_rope is not None:
        tables.append(rope_table(spec.local_rope, config.context_len))
    return tuple(tables)


def _with_file_factors(rope: Rope, weights: Weights) -> Rope:
    """A GGUF keeps longrope's factors in tensors."""
    if rope.scaling.kind != "longrope" or rope.scaling.long_factors:
        return rope
    short, long = weights.loose("rope_factors_short.weight"), weights.loose("rope_factors_long.weight")
    if short is None or long is None:
        raise ModelFileError("The model's files are incomplete: its rotary factors are missing; download the model again.")
    scaling = dataclasses.replace(rope.scaling, short_factors=tuple(map(float, short)), long_factors=tuple(map(float, long)))
    return dataclasses.replace(rope, scaling=scaling)


def _backend_module(name: str) -> _BackendModule:
    if name not in _BACKENDS:
        raise SettingsError(f"There is no backend {name!r}; there are {', '.join(_BACKENDS)}.")
    try:
        return cast(_BackendModule, import_module(_BACKENDS[name]))
    except ImportError as error:
        raise SettingsError(f"The backend {name!r} is not installed here ({error}); choose another one.") from error
