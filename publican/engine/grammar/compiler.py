"""`Compiler`: constraints to matchers, on a thread of its own. A hard grammar takes seconds, and nobody waits for it but
whoever sent it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from publican.core.errors import InvalidParameter, PublicanError, Unsupported
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.grammar.matcher import Matcher
from publican.engine.grammar.source import grammar_text

log = logging.getLogger(__name__)

_MAX_KEPT = 64


class Compiler:
    """Grammars over one vocabulary. Keeps the latest compiled ones: clients send the same schema again and again.

    `compile_later` is called on the engine thread; `done` is called on the compiler's own.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._threads = ThreadPoolExecutor(1, "grammar")
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()

    def compile_later(self, params: SamplingParams, done: Callable[[Matcher | PublicanError], None]) -> None:
        def work() -> None:
            result: Matcher | PublicanError
            try:
                result = self.compile(params)
            except PublicanError as error:
                result = error
            except BaseException as error:  # a panic of the library's is no Exception, and whoever waits must hear of it
                log.exception("a grammar could not be compiled")
                result = Unsupported(f"The grammar could not be compiled ({type(error).__name__}); simplify it.")
            done(result)

        self._threads.submit(work)

    def compile(self, params: SamplingParams) -> Matcher:
        """Raises InvalidParameter if the constraint is not well-formed, or too complex."""
        text = grammar_text(params)
        with self._lock:
            machine = self._kept.get(text)
            if machine is None:
                machine = LLMatcher(self._tokenizer_made(), text, log_level=0)
                if machine.is_error():
                    name = next(n for n in ("grammar", "json_schema", "regex", "choice") if getattr(params, n))
                    raise InvalidParameter(name, f"cannot be followed: {_first_line(machine.get_error())}")
                self._kept[text] = machine
                if len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(text)
            return Matcher(machine.deep_copy(), self._vocabulary.size)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _tokenizer_made(self) -> LLTokenizer:
        if self._tokenizer is None:
            ends: list[int] = sorted(self._vocabulary.end) or [0]
            self._tokenizer = LLTokenizer(TokenizerWrapper(_Pieces(self._vocabulary, ends[0])), eos_token=list(ends))
        return self._tokenizer


class _Pieces:
    """The vocabulary as llguidance wants to see one. Forced text is cut greedily, the longest piece first."""

    def __init__(self, vocabulary: Vocabulary, eos: int) -> None:
        self.eos_token_id = eos
        self.bos_token_id = vocabulary.bos
        self.tokens = [bytes(piece) for piece in vocabulary.pieces]
        self.special_token_ids = sorted(vocabulary.special)
        self._ids = {piece: id for id, piece in reversed(list(enumerate(self.tokens))) if id not in vocabulary.special}
        self._longest = max(map(len, self._ids), default=1)

    def __call__(self, text: bytes | str) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        ids: list[int] = []
        while data:
            length = next((n for n in range(min(self._longest, len(data)), 0, -1) if data[:n] in self._ids), None)
            if length is None:
                return ids
            ids.append(self._ids[data[:length]])
            data = data[length:]
        return ids


def _first_line(text: str) -> str:
    """A library's complaint in one line."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return line[:300].rstrip(".") + "."
