"""The engine on a real model in libllama, one step at a time, with libllama's own tokenizer."""

from __future__ import annotations

import ctypes
from collections import defaultdict

from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping, Wanted
from publican.core.step import Free, StepPlan
from publican.core.tokenizer import Vocabulary
from publican.engine.engine import Engine
from publican.engine.job import Job, Submit
from publican.executors.llama.executor import LlamaExecutor
from tests.engine.drive import GREEDY, Answer, Driver


class LlamaDriver(Driver):
    """A fresh engine with an empty cache on `executor`, which it does not close."""

    def __init__(self, executor: LlamaExecutor, vocabulary: Vocabulary, max_running: int = 8) -> None:
        executor.execute(StepPlan((), tuple(Free(slot) for slot in range(executor.info.num_slots))))
        self.engine = Engine(executor, vocabulary, self._emit, max_running)
        self.answers: dict[RequestId, Answer] = defaultdict(Answer)
        self._num_jobs = 0

    def submit_tokens(self, tokens: tuple[TokenId, ...], max_tokens: int) -> RequestId:
        id = RequestId(f"job-{self._num_jobs}")
        self._num_jobs += 1
        stopping = Stopping(max_tokens=max_tokens, ignore_eos=True)
        self.engine.inbox.put(Submit(Job(id, tokens, GREEDY, stopping, Wanted())))
        return id

    def answer(self, prompts: list[tuple[TokenId, ...]], max_tokens: int) -> list[str]:
        """What comes of all `prompts` at once."""
        ids = [self.submit_tokens(prompt, max_tokens) for prompt in prompts]
        self.run()
        for id in ids:
            self.answers[id].check()
        return [self.answers[id].text() for id in ids]


def read_vocabulary(executor: LlamaExecutor) -> Vocabulary:
    library, vocab = _vocab(executor)
    buffer = ctypes.create_string_buffer(256)
    pieces = []
    for token in range(executor.info.vocab_size):
        length = library.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        pieces.append(buffer.raw[:length])
    return Vocabulary(tuple(pieces))


def tokenize(executor: LlamaExecutor, text: str) -> tuple[TokenId, ...]:
    library, vocab = _vocab(executor)
    data = text.encode()
    buffer = (library.llama_token * (len(data) + 8))()
    length = library.llama_tokenize(vocab, data, len(data), buffer, len(buffer), True, True)
    return tuple(TokenId(token) for token in buffer[:length])


def _vocab(executor: LlamaExecutor):
    library = executor._session.library
    return library, library.llama_model_get_vocab(executor._session.model)
