"""A doubtful grammar is compiled in a process of its own first, where it may take too long, or too much, or fall over.

llguidance bounds what it builds, and hardly how long that takes; and it follows rules by recursion, so that some thousands of
them that name one another in a chain end the process which compiles them. `source.is_doubtful` says which might be such ones.

`try_out` waits, on a compiler's thread; `main` is the other process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from llguidance import LLMatcher

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.grammar.lane import LANE_STACK_BYTES, deep_stack
from publican.engine.grammar.machine import machine_of, tokenizer_of
from publican.engine.grammar.source import constraint_of, grammar_text

if sys.platform != "win32":
    import resource

MAX_S = 10
"""Of one processor's time, where the system counts that. A process that is seldom let run may take three times as long."""
_MAX_BYTES = 1 << 30
"""Of address space."""
_STACK_BYTES = LANE_STACK_BYTES // 2
"""So that a lane has some to spare."""
_CODE = "import sys; sys.path.insert(0, {root!r}); from publican.engine.grammar.trial import main; main()"


def try_out(params: SamplingParams, vocabulary: Vocabulary, max_s: int = MAX_S) -> str:
    """The grammar text of the constraint of `params`, which can be compiled on a deep stack in about `max_s` seconds.

    Of `vocabulary` only the special tokens count, by their names and numbers: a grammar may say either.

    Raises:
        InvalidParameter: it cannot, or it is not well-formed.
        OSError: the system has no room for another process.
    """
    name, texts = constraint_of(params)
    code = _CODE.format(root=str(Path(__file__).parents[3]))
    asked = {
        "name": name,
        "texts": texts,
        "max_s": max_s,
        "special": [(id, vocabulary.pieces[id].decode("latin-1")) for id in sorted(vocabulary.special)],
        "end": sorted(vocabulary.end),
        "vocab_size": vocabulary.size if any("<[" in text for text in texts) else 0,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=3 * max_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(name, max_s) from None
    if -done.returncode == getattr(signal, "SIGXCPU", None):
        raise _too_slow(name, max_s)
    if done.returncode != 0:
        raise InvalidParameter(name, "is too large to be compiled, or its rules are nested too deeply; make it smaller.")
    answer: dict[str, str] = json.loads(done.stdout)
    if "error" in answer:
        raise InvalidParameter(name, answer["error"])
    return answer["text"]


def _too_slow(name: str, max_s: int) -> InvalidParameter:
    return InvalidParameter(name, f"takes more than {max_s} seconds to compile; make it smaller.")


def main() -> None:
    """Reads a constraint from stdin, compiles it, and writes its grammar text, or what is wrong with it."""
    sent: dict[str, Any] = json.load(sys.stdin)
    _limit(sent["max_s"])
    name, texts = sent["name"], tuple(sent["texts"])
    asked: dict[str, Any] = {name: texts if name == "choice" else texts[0]}
    params = SamplingParams(**asked)
    vocabulary = _stand_in(
        [(TokenId(id), said.encode("latin-1")) for id, said in sent["special"]], sent["end"], sent["vocab_size"]
    )
    made: list[tuple[str, LLMatcher]] = []
    answer: dict[str, str] = {}

    def work() -> None:
        try:
            text = grammar_text(params)
            made.append((text, machine_of(tokenizer_of(vocabulary), name, text)))
        except InvalidParameter as error:
            answer["error"] = str(error).removeprefix(f"{name}: ")

    with deep_stack(_STACK_BYTES):
        thread = threading.Thread(target=work)
        thread.start()
    thread.join()  # for as long as `_limit` and `try_out` let it
    if not answer:
        answer["text"], machine = made.pop()
        machine.deep_copy().compute_bitmask()  # here and not there: masks have the usual stack
        del machine
    json.dump(answer, sys.stdout)


def _stand_in(special: list[tuple[TokenId, bytes]], ends: list[int], vocab_size: int) -> Vocabulary:
    """Single bytes behind the special tokens, which have their own numbers if `vocab_size` says how many there are in all."""
    pieces = [b"\xff%d" % id for id in range(vocab_size)] or [piece for _, piece in special]  # no text begins with that byte
    for id, piece in special if vocab_size else ():
        pieces[id] = piece
    places = [id if vocab_size else place for place, (id, _) in enumerate(special)]
    end = [place for place, (id, _) in zip(places, special, strict=True) if id in ends] or [len(pieces)]
    pieces += [b"</s>"] * (end == [len(pieces)])
    pieces += [bytes([byte]) for byte in range(256)]
    return Vocabulary(tuple(pieces), frozenset(map(TokenId, (*places, *end))), frozenset(map(TokenId, end)))


def _limit(max_s: int) -> None:
    """Whatever of this a system does not know is left out."""
    if sys.platform != "win32":
        os.nice(5)
        for what, most in ((resource.RLIMIT_CPU, max_s), (resource.RLIMIT_AS, _MAX_BYTES), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
