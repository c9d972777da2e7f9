"""The same stacks as peers run them: llama.cpp's sampler chain and transformers' processors, each where it is installed.

What is timed is what a peer does to logits that already lie in its own form: llama.cpp's arrays of candidates are filled
before the clock starts (its own server fills them row by row), transformers' scores are a torch batch. So the comparison
favours the peers.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams

Logits = NDArray[np.float32]
Text = list[TokenId]


class Peer(Protocol):
    """Another program's samplers, set up for one stack."""

    name: str
    leaves_out: str
    """What of the stack it does not have; "" for nothing."""

    def step_s(self, logits: Logits, texts: Sequence[Text]) -> float:
        """One step over all rows; appends the drawn tokens to `texts`. Returns the seconds that its samplers took."""
        ...

    def close(self) -> None: ...


def has_llama() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def has_transformers() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


class LlamaChain:
    """llama.cpp: a chain per row, as its server has."""

    name = "llama.cpp"
    leaves_out = ""

    def __init__(self, params: SamplingParams, vocab_size: int, texts: Sequence[Text]) -> None:
        self._lib: Any = importlib.import_module("llama_cpp")
        self._chains = [self._chain(params, seed, vocab_size) for seed in range(len(texts))]
        for chain, text in zip(self._chains, texts, strict=True):
            for token in text:
                self._lib.llama_sampler_accept(chain, token)
        fields = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._candidates = np.zeros(vocab_size, dtype=fields)
        self._ids = np.arange(vocab_size, dtype=np.int32)

    def step_s(self, logits: Logits, texts: Sequence[Text]) -> float:
        lib, candidates = self._lib, self._candidates
        elapsed_s = 0.0
        for chain, row, text in zip(self._chains, logits, texts, strict=True):
            candidates["id"], candidates["logit"], candidates["p"] = self._ids, row, 0.0
            pointer = candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
            array = lib.llama_token_data_array(pointer, len(candidates), -1, False)
            begin = time.perf_counter()
            lib.llama_sampler_apply(chain, ctypes.byref(array))
            token = array.data[array.selected].id
            lib.llama_sampler_accept(chain, token)
            elapsed_s += time.perf_counter() - begin
            text.append(TokenId(token))
        return elapsed_s

    def close(self) -> None:
        for chain in self._chains:
            self._lib.llama_sampler_free(chain)
        self._chains = []

    def _chain(self, p: SamplingParams, seed: int, vocab_size: int) -> Any:
        """In llama.cpp's own order; a step that does nothing is left out, as its server leaves it out."""
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        window = p.repetition_penalty_range or 2**16
        steps = [
            (p.repetition_penalty != 1.0 or p.presence_penalty or p.frequency_penalty)
            and lib.llama_sampler_init_penalties(
                vocab_size, window, p.repetition_penalty, p.frequency_penalty, p.presence_penalty
            ),
            p.dry_multiplier
            and lib.llama_sampler_init_dry(None, p.dry_multiplier, p.dry_base, p.dry_allowed_length, window, None, 0),
            p.top_k and lib.llama_sampler_init_top_k(p.top_k),
            p.top_p < 1.0 and lib.llama_sampler_init_top_p(p.top_p, 1),
            p.min_p and lib.llama_sampler_init_min_p(p.min_p, 1),
            p.temperature != 1.0 and lib.llama_sampler_init_temp(p.temperature),
            lib.llama_sampler_init_greedy() if p.is_greedy else lib.llama_sampler_init_dist(seed),
        ]
        for step in steps:
            if step:
                lib.llama_sampler_chain_add(chain, step)
        return chain


class TransformersProcessors:
    """transformers: one list of processors over the batch, then softmax and multinomial."""

    name = "transformers"

    def __init__(self, params: SamplingParams, texts: Sequence[Text]) -> None:
        self._torch: Any = importlib.import_module("torch")
        process: Any = importlib.import_module("transformers.generation.logits_process")
        self._torch.manual_seed(0)
        self._is_greedy = params.is_greedy
        missing = {"DRY": params.dry_multiplier, "presence": params.presence_penalty, "frequency": params.frequency_penalty}
        self.leaves_out = ", ".join(name for name, value in missing.items() if value)
        steps = [
            params.repetition_penalty != 1.0 and process.RepetitionPenaltyLogitsProcessor(params.repetition_penalty),
            not params.is_greedy and params.temperature != 1.0 and process.TemperatureLogitsWarper(params.temperature),
            params.top_k and process.TopKLogitsWarper(params.top_k),
            params.top_p < 1.0 and process.TopPLogitsWarper(params.top_p),
            params.min_p and process.MinPLogitsWarper(params.min_p),
        ]
        self._steps = process.LogitsProcessorList([step for step in steps if step])
        width = max(len(text) for text in texts)
        self._tokens = self._torch.tensor([text[:1] * (width - len(text)) + text for text in texts], dtype=self._torch.int64)

    def step_s(self, logits: Logits, texts: Sequence[Text]) -> float:
        torch = self._torch
        scores = torch.from_numpy(logits)
        begin = time.perf_counter()
        scores = self._steps(self._tokens, scores)
        if self._is_greedy:
            drawn = scores.argmax(dim=-1, keepdim=True)
        else:
            drawn = torch.multinomial(torch.softmax(scores, dim=-1), 1)
        tokens = drawn[:, 0].tolist()
        elapsed_s = time.perf_counter() - begin
        self._tokens = torch.cat((self._tokens, drawn), dim=1)
        for text, token in zip(texts, tokens, strict=True):
            text.append(TokenId(token))
        return elapsed_s

    def close(self) -> None:
        pass
