"""Logits from libllama, through llama-cpp-python's low-level API, with keys and values in float32."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """libllama talks to file descriptor 2."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def logits(path: Path, tokens: Sequence[int], context_len: int = 64) -> np.ndarray:
    """[tokens, V], all tokens in one batch."""
    llama = pytest.importorskip("llama_cpp", exc_type=ImportError)
    with silent():
        llama.llama_backend_init()
        model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        assert model, "libllama refused the file"
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = context_len
        params.n_threads = params.n_threads_batch = 2
        params.type_k = params.type_v = 0  # F32
        params.flash_attn_type = 0
        context = llama.llama_init_from_model(model, params)
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
        assert llama.llama_decode(context, batch) == 0
        vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        pointer = ctypes.cast(llama.llama_get_logits(context), ctypes.POINTER(ctypes.c_float))
        result = np.ctypeslib.as_array(pointer, (len(tokens), vocab_size)).copy()
        llama.llama_batch_free(batch)
        llama.llama_free(context)
        llama.llama_model_free(model)
    return result
