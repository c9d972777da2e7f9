"""`Session`: a model and a context of libllama's, and the few calls that an executor makes. Knows no plans."""

from __future__ import annotations

import ctypes
from typing import Any


class Session:
    """Handles to be freed exactly once.

    Attributes:
        has_shadows: every sequence has a twin that owns the same cells, `num_slots` further on. See `Batch`.
    """

    def __init__(self, library: Any, model: int) -> None:
        self.library = library
        self.model = model
        self.context = 0
        self.memory = 0
        self.has_shadows = False

    def open(self, parameters: ctypes.Structure) -> bool:
        """Make the context; False if libllama refuses."""
        self.context = self.library.llama_init_from_model(self.model, parameters) or 0
        if self.context:
            self.memory = self.library.llama_get_memory(self.context) or 0
        return bool(self.context)

    def close(self) -> None:
        context, self.context, self.memory = self.context, 0, 0
        model, self.model = self.model, 0
        if context:
            self.library.llama_free(context)
        if model:
            self.library.llama_model_free(model)

    def share(self, source: int, target: int, num_tokens: int) -> None:
        self.library.llama_memory_seq_cp(self.memory, source, target, 0, num_tokens)

    def truncate(self, sequence: int, num_tokens: int) -> bool:
        """Forget everything from position `num_tokens` on; False if this memory cannot."""
        return bool(self.library.llama_memory_seq_rm(self.memory, sequence, num_tokens, -1))

    def decode(self, batch: ctypes.Structure) -> int:
        return int(self.library.llama_decode(self.context, batch))

    def give_states(self, wanted: bool) -> None:
        """Whether from now on every token of a batch gives a hidden state. Then every one gives logits too, wanted or not."""
        self.library.llama_set_embeddings(self.context, wanted)

    def encode(self, batch: ctypes.Structure) -> int:
        return int(self.library.llama_encode(self.context, batch))

    def states_address(self) -> int:
        """Where the hidden states of the last batch lie, in its order; waits until they are there."""
        pointer = self.library.llama_get_embeddings(self.context)
        return ctypes.cast(pointer, ctypes.c_void_p).value or 0

    def logits_address(self) -> int:
        """Where the rows of the last batch lie, in its order; waits until they are there."""
        pointer = self.library.llama_get_logits(self.context)
        return ctypes.cast(pointer, ctypes.c_void_p).value or 0
