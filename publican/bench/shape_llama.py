"""The same shapes as libllama runs them, where llama-cpp-python is installed, from a file of random weights made for it.

The weights are in llama.cpp's type nearest to the format that was asked for, so both bytes and arithmetic differ a little; its
share is of its own bytes. Every sequence has a cache of its own, filled by a prompt that the first one reads, as what a
step costs depends on how much is held and not on what. Never run on a card so far.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from publican.bench.kernels import Ceilings
from publican.bench.shape_gguf import gguf_bytes, nearest_type, write_gguf
from publican.bench.shape_peers import Progress
from publican.bench.shape_times import ShapeConfig, StepTime, decode_floor_s, kv_bytes, prompt_floor_s
from publican.bench.shapes import WeightFormat
from publican.core.errors import EngineError, OutOfMemory, PublicanError
from publican.core.model import ModelSpec
from publican.executors.llama.devices import num_processors
from publican.executors.llama.library import load_library, set_fields
from publican.executors.llama.log import library_log

_SPARE_BYTES = 4 << 30
_DISK_SPARE_BYTES = 1 << 30
_BATCH_LEN = 2_048
_CELLS = 256
"""libllama rounds every sequence's room up to so much."""
_WARM_UP = 3
_EVERYTHING = -1


def has_libllama() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def time_libllama(
    spec: ModelSpec, how: WeightFormat, config: ShapeConfig, ceilings: Ceilings, tell: Progress
) -> tuple[str, int, list[StepTime]]:
    """The type of its weights, their bytes, and the cases that `shape_times.time_shape` has; or why there are none.

    The file lies in the folder for temporary files (TMPDIR) while this runs.
    """
    kind = nearest_type(how)
    weight_bytes = gguf_bytes(spec, kind)

    def nothing(why: str) -> tuple[str, int, list[StepTime]]:
        return kind, weight_bytes, [StepTime("all", left_out=why)]

    if not has_libllama():
        return nothing("llama-cpp-python is not installed")
    device = torch.device(config.backend.devices[0])
    room = _room(device, config, weight_bytes)
    if room is not None and room < 0:
        return nothing(f"its weights in {kind} do not fit here")
    try:
        library = load_library()
        if device.type == "cuda" and not library.llama_supports_gpu_offload():
            return nothing("this llama-cpp-python was built without CUDA")
        with tempfile.TemporaryDirectory(prefix="publican-shape-") as folder:
            free = shutil.disk_usage(folder).free
            if weight_bytes + _DISK_SPARE_BYTES > free:
                return nothing(f"its file takes {weight_bytes / 1e9:.1f} GB, and {Path(folder).parent} has {free / 1e9:.1f}")
            tell(f"libllama: writing {weight_bytes / 1e9:.1f} GB")
            path = Path(folder, "random.gguf")
            write_gguf(path, spec, kind, max(*config.contexts, config.prompt_len) + config.num_steps + _WARM_UP)
            tell("libllama: loading")
            return kind, weight_bytes, _Timer(library, path, spec, config, ceilings).times(weight_bytes, room, tell)
    except (PublicanError, OSError) as error:
        return nothing(str(error))


def _room(device: torch.device, config: ShapeConfig, weight_bytes: int) -> int | None:
    """Bytes for caches; None where nothing need be asked. What torch keeps for itself is given back first."""
    if device.type != "cuda":
        return None
    if config.memory_bytes:
        return config.memory_bytes - _SPARE_BYTES - weight_bytes
    gc.collect()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0]) - _SPARE_BYTES - weight_bytes


class _Timer:
    """A loaded model, and a context for each case."""

    def __init__(self, library: Any, path: Path, spec: ModelSpec, config: ShapeConfig, ceilings: Ceilings) -> None:
        self._library = library
        self._spec = spec
        self._config = config
        self._ceilings = ceilings
        parameters = library.llama_model_default_params()
        is_on_card = torch.device(config.backend.devices[0]).type == "cuda"
        set_fields(parameters, n_gpu_layers=_EVERYTHING if is_on_card else 0)
        library_log(library).forget()
        self._model = library.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise OutOfMemory(f"libllama does not load the file: {library_log(library).reason()}")

    def times(self, weight_bytes: int, room: int | None, tell: Progress) -> list[StepTime]:
        """Every case; the model is gone afterwards."""
        spec, config = self._spec, self._config
        times = []
        try:
            for context in config.contexts:
                for size in config.batch_sizes:
                    name = f"decode, {size} × {context:,}"
                    tell(f"libllama: {name}")
                    if room is not None and kv_bytes(spec, _num_cells(size, context + config.num_steps + _WARM_UP)) > room:
                        times.append(StepTime(name, left_out="there is no room for its cache"))
                        continue
                    floor_s = decode_floor_s(spec, weight_bytes, (size, context), self._ceilings)
                    times.append(_timed(name, partial(self._decode_s, size, context), size, floor_s))
            if length := config.prompt_len:
                tell(f"libllama: a prompt of {length:,}")
                floor_s = prompt_floor_s(spec, length, self._ceilings)
                times.append(_timed(f"prompt of {length:,}", partial(self._prompt_s, length), length, floor_s))
            return times
        finally:
            self._library.llama_model_free(self._model)

    def _decode_s(self, size: int, context: int) -> float:
        """A token for each of `size` sequences, whose context grows from `context`: the median of the steps."""
        num_steps = self._config.num_steps + _WARM_UP
        with _Context(self._library, self._model, size, context + num_steps) as ours:
            ours.fill(size, context - 1)
            return statistics.median([ours.step_s(size, context - 1 + step) for step in range(num_steps)][_WARM_UP:])

    def _prompt_s(self, length: int) -> float:
        num_times = max(2, self._config.num_steps // 4) + _WARM_UP
        with _Context(self._library, self._model, 1, length) as ours:
            return statistics.median([ours.prompt_s(length) for _ in range(num_times)][_WARM_UP:])


def _timed(name: str, work: Callable[[], float], num_tokens: int, floor_s: float) -> StepTime:
    try:
        seconds = work()
    except OutOfMemory as error:
        return StepTime(name, left_out=str(error))
    return StepTime(name, seconds, num_tokens / seconds, floor_s / seconds)


def _num_cells(num_sequences: int, length: int) -> int:
    return num_sequences * -(-length // _CELLS) * _CELLS


class _Context:
    """A context for `num_sequences`, each with room for `length` tokens, in libllama's own settings otherwise."""

    def __init__(self, library: Any, model: int, num_sequences: int, length: int) -> None:
        self._library = library
        self._batch_len = max(_BATCH_LEN, num_sequences)
        parameters = library.llama_context_default_params()
        set_fields(
            parameters,
            n_ctx=_num_cells(num_sequences, length),
            n_batch=self._batch_len,
            n_seq_max=num_sequences,
            n_outputs_max=num_sequences,
            n_threads=num_processors(),
            n_threads_batch=num_processors(),
            kv_unified=False,
        )
        library_log(library).forget()
        self._context = library.llama_init_from_model(model, parameters)
        if not self._context:
            raise OutOfMemory(f"libllama makes no context: {library_log(library).reason()}")
        self._memory = library.llama_get_memory(self._context)
        self._batch = library.llama_batch_init(self._batch_len, 0, 1)

    def __enter__(self) -> _Context:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)

    def fill(self, num_sequences: int, num_tokens: int) -> None:
        """Sequence 0 reads a prompt, and the others get copies."""
        if num_tokens:
            self.prompt_s(num_tokens)
        for sequence in range(1, num_sequences):
            self._library.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)

    def prompt_s(self, num_tokens: int) -> float:
        """Forget everything, then read a prompt in sequence 0 and give the logits behind it: seconds."""
        self._library.llama_memory_clear(self._memory, False)
        elapsed_s = 0.0
        for start in range(0, num_tokens, self._batch_len):
            end = min(start + self._batch_len, num_tokens)
            self._lay_out([(0, position) for position in range(start, end)], {num_tokens - 1})
            elapsed_s += self._compute_s(end == num_tokens)
        return elapsed_s

    def step_s(self, num_sequences: int, position: int) -> float:
        """A token at `position` of every sequence: seconds until the logits are there."""
        self._lay_out([(sequence, position) for sequence in range(num_sequences)], {position})
        return self._compute_s(True)

    def _lay_out(self, places: Sequence[tuple[int, int]], wanted: Container[int]) -> None:
        batch = self._batch
        batch.n_tokens = len(places)
        for i, (sequence, position) in enumerate(places):
            batch.token[i] = position % 97
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = position in wanted

    def _compute_s(self, gives_logits: bool) -> float:
        begin = time.perf_counter()
        code = self._library.llama_decode(self._context, self._batch)
        if code:
            raise EngineError(f"libllama ends with {code}: {library_log(self._library).reason()}")
        self._library.llama_synchronize(self._context)
        if gives_logits and not math.isfinite(self._library.llama_get_logits_ith(self._context, -1)[0]):
            raise EngineError("libllama's logits are no numbers")
        return time.perf_counter() - begin
