"""`load`: a GGUF file becomes a `LlamaExecutor`. Called in the worker, on the thread that then runs the engine or another."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from publican.core.errors import ModelFileError, OutOfMemory, PublicanError, SettingsError, UnsupportedModel
from publican.core.executor import Cells, ExecutorInfo
from publican.executors.llama.config import MAX_SEQUENCES, LlamaConfig
from publican.executors.llama.devices import gpu_names, num_processors
from publican.executors.llama.encoder import LlamaEncoder
from publican.executors.llama.executor import LlamaExecutor
from publican.executors.llama.library import load_library, set_fields
from publican.executors.llama.log import library_log
from publican.executors.llama.parameters import context_parameters, encoder_parameters, model_parameters
from publican.executors.llama.session import Session

Progress = Callable[[int, int], None]
E = TypeVar("E")


def load(path: Path, config: LlamaConfig | None = None, progress: Progress | None = None) -> LlamaExecutor:
    """Load a GGUF file, or the first part of a split one. `load_encoder` is for models that write nothing.

    Args:
        progress: called with bytes done and bytes in all as the weights are read; what it raises ends the loading.

    Raises:
        ModelFileError: the file is missing, truncated or garbage.
        UnsupportedModel: libllama is not installed, or does not run this model or these settings.
        OutOfMemory: the weights, the cells or the working memory do not fit.
        SettingsError: more slots, or other GPUs, than libllama has.
    """
    return _load(path, config or LlamaConfig(), progress, _open_context, LlamaExecutor)


def load_encoder(path: Path, config: LlamaConfig | None = None, progress: Progress | None = None) -> LlamaEncoder:
    """The same for a model in which each token of a text looks at all of it. Of `config` only what concerns it counts."""
    return _load(path, config or LlamaConfig(), progress, _open_encoder, LlamaEncoder)


def _load(
    path: Path,
    config: LlamaConfig,
    progress: Progress | None,
    open_context: Callable[[Session, Path, LlamaConfig, int], ExecutorInfo],
    make: Callable[[Session, ExecutorInfo], E],
) -> E:
    if not path.is_file():
        raise ModelFileError(f"There is no model file {path}.")
    library = load_library()
    session = Session(library, _load_model(library, path, config, progress))
    try:
        num_threads = config.num_threads or num_processors()
        return make(session, open_context(session, path, config, num_threads))
    except BaseException:
        session.close()
        raise


def _load_model(library: Any, path: Path, config: LlamaConfig, progress: Progress | None) -> int:
    raised: list[BaseException] = []

    def report(fraction: float, _data: object) -> bool:
        try:
            if progress is not None:
                progress(int(fraction * num_bytes), num_bytes)
        except BaseException as error:  # noqa: BLE001 - nothing may pass through C; it comes out below
            raised.append(error)
        return not raised

    num_bytes = path.stat().st_size
    shares = _tensor_split(library, config)
    parameters = library.llama_model_default_params()
    callback = library.llama_progress_callback(report)
    set_fields(parameters, progress_callback=callback, tensor_split=shares, **model_parameters(config))
    library_log(library).forget()
    model = library.llama_model_load_from_file(str(path).encode(), parameters)
    if raised:
        raise raised[0]
    if not model:
        raise _load_error(path, library_log(library).reason())
    return int(model)


def _tensor_split(library: Any, config: LlamaConfig) -> Any:
    most = library.llama_max_devices()
    if len(config.tensor_split) > most:
        raise SettingsError(f"tensor_split can name {most} devices at most, got {len(config.tensor_split)}.")
    return (ctypes.c_float * most)(*config.tensor_split) if config.tensor_split else None


def _load_error(path: Path, reason: str) -> PublicanError:
    if _is_memory(reason):
        return OutOfMemory(f"There is not enough memory for {path.name}: {reason}.")
    if "main_gpu" in reason:
        return SettingsError(f"libllama refuses these settings: {reason}.")
    if "architecture" in reason:
        return UnsupportedModel(f"libllama does not run {path.name}: {reason}.")
    return ModelFileError(f"The model file {path} cannot be loaded: {reason}.")


def _is_memory(reason: str) -> bool:
    return re.search(r"alloc|out of memory", reason, re.IGNORECASE) is not None


def _open_context(session: Session, path: Path, config: LlamaConfig, num_threads: int) -> ExecutorInfo:
    """Give `session` its context, and say what came of it."""
    library, model = session.library, session.model
    if library.llama_model_has_encoder(model) or not library.llama_model_has_decoder(model):
        raise UnsupportedModel(f"{path.name} is not a decoder, which is all that can be run here; choose a text model.")
    recurrent = library.llama_model_is_recurrent(model)
    can_rewind = not recurrent and not library.llama_model_is_hybrid(model)
    session.has_shadows = can_rewind and library.llama_model_n_swa(model) > 0
    num_sequences = config.num_slots * (2 if session.has_shadows else 1)
    if num_sequences > MAX_SEQUENCES:
        raise SettingsError(f"libllama can hold {MAX_SEQUENCES // 2} slots of this model at most, got {config.num_slots}.")
    context_len = config.context_len or library.llama_model_n_ctx_train(model)
    num_cells = max(config.num_cells, context_len)
    parameters = library.llama_context_default_params()
    set_fields(parameters, **context_parameters(config, num_cells, num_sequences, num_threads))
    library_log(library).forget()
    if not session.open(parameters):
        raise _context_error(path, num_cells, library_log(library).reason())
    if not session.memory:
        raise UnsupportedModel(f"{path.name} does not write text token by token, which is all that can be run here.")
    # A recurrent state is as large after a thousand tokens as after one.
    num_tokens = config.num_slots * context_len if recurrent else library.llama_n_ctx(session.context)
    return ExecutorInfo(
        loader="llama",
        device=_device(library, model, config, num_threads),
        vocab_size=library.llama_vocab_n_tokens(library.llama_model_get_vocab(model)),
        context_len=context_len,
        num_slots=config.num_slots,
        max_batch_tokens=library.llama_n_batch(session.context),
        max_logits=parameters.n_outputs_max,
        memory=Cells(num_tokens, can_rewind),
        hidden_size=library.llama_model_n_embd_out(model),
    )


def _open_encoder(session: Session, path: Path, config: LlamaConfig, num_threads: int) -> ExecutorInfo:
    """The same for a model that keeps nothing of what it has read."""
    library, model = session.library, session.model
    trained_len = library.llama_model_n_ctx_train(model)
    context_len = min(config.context_len or trained_len, trained_len)  # it may have no more positions than these
    parameters = library.llama_context_default_params()
    set_fields(parameters, **encoder_parameters(context_len, config.num_slots, num_threads))
    library_log(library).forget()
    if not session.open(parameters):
        raise _context_error(path, context_len, library_log(library).reason())
    if session.memory:
        raise UnsupportedModel(f"{path.name} is no encoder, though its header says so; get another copy of the model.")
    return ExecutorInfo(
        loader="llama",
        device=_device(library, model, config, num_threads),
        vocab_size=library.llama_vocab_n_tokens(library.llama_model_get_vocab(model)),
        context_len=context_len,
        num_slots=config.num_slots,
        max_batch_tokens=context_len,
        max_logits=config.num_slots,
        memory=Cells(config.num_slots * context_len),  # none is needed, so there is enough for all
        hidden_size=library.llama_model_n_embd_out(model),
        is_encoder=True,
    )


def _context_error(path: Path, num_cells: int, reason: str) -> PublicanError:
    if _is_memory(reason):
        return OutOfMemory(
            f"There is not enough memory for {num_cells:,} tokens of {path.name}; ask for less context: {reason}."
        )
    return UnsupportedModel(f"libllama cannot run {path.name} with these settings: {reason}.")


def _device(library: Any, model: int, config: LlamaConfig, num_threads: int) -> str:
    threads = "1 thread" if num_threads == 1 else f"{num_threads} threads"
    gpus = gpu_names(library)
    if not gpus or config.gpu_layers == 0:
        return f"cpu ({threads})"
    num_layers = library.llama_model_n_layer(model)
    if config.gpu_layers < 0 or config.gpu_layers > num_layers:
        return ", ".join(gpus)
    return f"{', '.join(gpus)} for {config.gpu_layers} of {num_layers} layers, cpu ({threads})"
