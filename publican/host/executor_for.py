"""Builds the executor that a `WorkerSpec` asks for. Runs in the worker; nothing heavy is imported before it is needed."""

from __future__ import annotations

from collections.abc import Callable

from publican.core.errors import UnsupportedModel
from publican.core.executor import Executor, Pages
from publican.engine.drafting.choose import can_forget
from publican.host.options import WorkerSpec

PAGE_LEN = 16

Progress = Callable[[int, int], None]


def build(spec: WorkerSpec, progress: Progress) -> Executor:
    """Load the model. `progress(done, total)` is called as it goes.

    Raises:
        ModelFileError, UnsupportedModel, OutOfMemory: with a sentence for the host.
    """
    match spec.loader:
        case "fake":
            return _fake(spec)
        case "native":
            return _native(spec, progress)
        case "llama":
            return _llama(spec, progress)
        case _:
            raise UnsupportedModel(f"There is no loader {spec.loader!r}; choose native or llama.")


def build_draft(spec: WorkerSpec, progress: Progress) -> Executor | None:
    """The executor of the draft model, if there is to be one. Raises what `build` raises."""
    if spec.draft is None:
        return None
    draft = build(spec.draft, progress)
    if not can_forget(draft):
        draft.close()
        raise UnsupportedModel("The draft model cannot take back what it guessed (it is a recurrent one); take another.")
    return draft


def _fake(spec: WorkerSpec) -> Executor:
    from publican.executors.fake import FakeExecutor, fake_info

    info = fake_info(
        Pages(PAGE_LEN, spec.num_tokens // PAGE_LEN),
        num_slots=spec.num_slots,
        context_len=spec.context_len,
        max_batch_tokens=spec.max_batch_tokens,
        max_logits=spec.max_batch_tokens,
        num_adapters=len(spec.adapters),
    )
    return FakeExecutor(info, step_s=spec.fake_step_s)


def _native(spec: WorkerSpec, progress: Progress) -> Executor:
    from publican.executors.native.config import NativeConfig
    from publican.executors.native.loading import load

    assert spec.checkpoint is not None
    assert spec.backend != "auto"
    config = NativeConfig(
        backend=spec.backend,
        context_len=spec.context_len,
        num_slots=spec.num_slots,
        num_pages=-(-spec.num_tokens // PAGE_LEN),
        page_len=PAGE_LEN,
        max_batch_tokens=spec.max_batch_tokens,
        max_logits=2 * spec.max_running,
        kv_dtype=spec.kv_type,
        rope=spec.rope,
        num_threads=spec.threads,
        quality=spec.quality,
        gpu_split=spec.gpu_split,
    )
    return load(spec.checkpoint, config, progress, spec.adapters)


def _llama(spec: WorkerSpec, progress: Progress) -> Executor:
    from publican.executors.llama import LlamaConfig, load, load_encoder

    assert spec.checkpoint is not None
    config = LlamaConfig(
        context_len=spec.context_len,
        num_cells=spec.num_tokens,
        num_slots=spec.num_slots,
        max_batch_tokens=spec.max_batch_tokens,
        max_logits=2 * spec.max_running,
        kv_dtype=spec.kv_type,
        num_threads=spec.threads,
        gpu_layers=spec.gpu_layers,
        tensor_split=spec.gpu_split,
        rope=spec.rope,
    )
    if spec.is_encoder:
        return load_encoder(spec.checkpoint.path, config, progress)
    return load(spec.checkpoint.path, config, progress)
