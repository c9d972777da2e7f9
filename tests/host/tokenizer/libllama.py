"""libllama's tokenizer, the oracle: through llama-cpp-python's low-level functions, with only the vocabulary loaded."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp


@llama_cpp.llama_log_callback
def _silent(*_: object) -> None:
    pass


class LibllamaTokenizer:
    """One GGUF file's vocabulary. `close` frees it."""

    def __init__(self, path: Path) -> None:
        llama_cpp.llama_backend_init()
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self._model, f"libllama does not load {path}"
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.add_bos = bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

    def encode(self, text: str, add_bos: bool = False, parse_special: bool = True) -> list[int]:
        data = text.encode()
        room = len(data) + 16
        buffer = (llama_cpp.llama_token * room)()
        num = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, add_bos, parse_special)
        assert num >= 0
        return list(buffer[:num])

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(1 << 12)
        num = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        assert num >= 0
        return buffer.raw[:num]

    def ends(self) -> set[int]:
        return {token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self._vocab, token)}

    def hidden(self) -> set[int]:
        """Tokens whose text libllama gives only when special ones are asked for."""
        wanted = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        return {t for t in range(self.size) if llama_cpp.llama_vocab_get_attr(self._vocab, t) & wanted}

    def close(self) -> None:
        llama_cpp.llama_model_free(self._model)
