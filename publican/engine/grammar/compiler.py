"""`Compiler`: constraints to matchers, on threads of its own. A hard grammar takes seconds, and nobody waits for it but
whoever sent it, and others who sent such ones."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from llguidance import LLMatcher, LLTokenizer

from publican.core.errors import InvalidParameter, PublicanError, Unsupported
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.grammar.lane import Lane
from publican.engine.grammar.machine import machine_of, tokenizer_of
from publican.engine.grammar.matcher import Matcher
from publican.engine.grammar.source import Constraint, constraint_of, grammar_text, is_doubtful
from publican.engine.grammar.trial import try_out

log = logging.getLogger(__name__)

_MAX_KEPT, _MAX_KEPT_SIZE = 64, 4 << 20
_DOUBTFUL_SIZE = 1 << 18
"""What is short can be large when it is compiled."""


class Compiler:
    """Grammars over one vocabulary. Keeps the latest compiled ones, and why others could not be compiled: clients send the same
    schema again and again.

    `compile_later` is called on the engine thread; `done` is called on one of the compiler's own.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._quick, self._slow = Lane("grammars"), Lane("large grammars")
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[Constraint, LLMatcher | str] = OrderedDict()
        self._sizes: dict[Constraint, int] = {}

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

        (self._slow if self._is_work(params) else self._quick).submit(work)

    def _is_work(self, params: SamplingParams) -> bool:
        """Whether others should not wait behind this."""
        if not is_doubtful(params):
            return False
        try:
            return constraint_of(params) not in self._kept
        except InvalidParameter:
            return False

    def compile(self, params: SamplingParams) -> Matcher:
        """Raises InvalidParameter if the constraint is not well-formed, or too complex."""
        constraint = constraint_of(params)
        with self._lock:
            machine = self._kept.get(constraint)
        if machine is None:
            machine = self._made(params, constraint[0])
            self._keep(constraint, machine, _DOUBTFUL_SIZE if is_doubtful(params) else 0)
        if isinstance(machine, str):
            raise InvalidParameter(constraint[0], machine)
        with self._lock:
            if constraint in self._kept:
                self._kept.move_to_end(constraint)
            return Matcher(machine.deep_copy(), self._vocabulary.size)

    def _made(self, params: SamplingParams, name: str) -> LLMatcher | str:
        """What is compiled, or why it cannot be."""
        try:
            text = try_out(params, self._vocabulary) if is_doubtful(params) else grammar_text(params)
            return machine_of(self._tokenizer_made(), name, text)
        except InvalidParameter as error:
            return str(error).removeprefix(f"{error.name}: ")

    def _keep(self, constraint: Constraint, machine: LLMatcher | str, least_size: int) -> None:
        with self._lock:
            self._kept[constraint] = machine
            self._sizes[constraint] = max(least_size, sum(map(len, constraint[1])))
            while len(self._kept) > 1 and (len(self._kept) > _MAX_KEPT or sum(self._sizes.values()) > _MAX_KEPT_SIZE):
                oldest, _ = self._kept.popitem(last=False)
                del self._sizes[oldest]

    def close(self) -> None:
        """Begin nothing more. Does not wait for what is being compiled."""
        self._quick.close()
        self._slow.close()

    def _tokenizer_made(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = tokenizer_of(self._vocabulary)
            return self._tokenizer
