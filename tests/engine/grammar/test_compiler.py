"""Grammars of any size: who waits for whom, what is compiled twice, and what becomes of those that cannot be compiled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from publican.core.errors import InvalidParameter, PublicanError
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.grammar import compiler as compiler_file
from publican.engine.grammar.compiler import Compiler
from publican.engine.grammar.matcher import Matcher
from publican.engine.grammar.source import LARGE, grammar_text, is_doubtful
from publican.engine.grammar.trial import try_out
from publican.executors.fake import BOS, FAKE_VOCABULARY, IM_START

SMALL = SamplingParams(regex="[a-z]{3}")
LONG_S = 60


def large_schema(num_keys: int = 600) -> SamplingParams:
    keys = {f"key number {i}": {"type": "integer"} for i in range(num_keys)}
    return SamplingParams(json_schema=json.dumps({"type": "object", "properties": keys, "required": ["key number 0"]}))


def chain(num_rules: int) -> SamplingParams:
    """GBNF that takes the converter the square of its rules."""
    rules = "\n".join(f'r{i} ::= r{i + 1} "a"' for i in range(num_rules))
    return SamplingParams(grammar=f'root ::= r0\n{rules}\nr{num_rules} ::= "x"\n')


def lark_chain(num_rules: int) -> SamplingParams:
    """What ended the process that compiled it."""
    rules = "\n".join(f'r{i}: "a" r{i + 1}' for i in range(num_rules))
    return SamplingParams(grammar=f'start: r0\n{rules}\nr{num_rules}: "x"\n')


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    made = Compiler(FAKE_VOCABULARY)
    yield made
    made.close()


class Waiting:
    """Takes one result."""

    def __init__(self) -> None:
        self.result: Matcher | PublicanError | None = None
        self._came = threading.Event()

    def __call__(self, result: Matcher | PublicanError) -> None:
        self.result = result
        self._came.set()

    def wait(self) -> Matcher | PublicanError | None:
        assert self._came.wait(LONG_S)
        return self.result


def test_a_small_grammar_does_not_wait_behind_a_large_one(compiler, monkeypatch):
    go_on = threading.Event()

    def slow(params: SamplingParams, vocabulary: Vocabulary) -> str:
        go_on.wait(LONG_S)
        return grammar_text(params)

    monkeypatch.setattr(compiler_file, "try_out", slow)
    large, small = Waiting(), Waiting()
    compiler.compile_later(large_schema(), large)
    compiler.compile_later(SMALL, small)
    assert isinstance(small.wait(), Matcher)
    assert large.result is None
    go_on.set()
    assert isinstance(large.wait(), Matcher)


def test_what_is_asked_for_again_is_not_made_again(compiler, monkeypatch):
    num_made = 0
    whole = compiler_file.machine_of

    def counting(*args):
        nonlocal num_made
        num_made += 1
        return whole(*args)

    monkeypatch.setattr(compiler_file, "machine_of", counting)
    monkeypatch.setattr(compiler_file, "try_out", lambda params, vocabulary: grammar_text(params))
    gbnf = SamplingParams(grammar='root ::= "a" [0-9]+')
    bad = SamplingParams(regex="(unclosed")
    for _ in range(3):
        assert not compiler.compile(gbnf).complete
        assert not compiler.compile(large_schema()).complete
        with pytest.raises(InvalidParameter, match=r"^regex: cannot be followed: ") as caught:
            compiler.compile(bad)
        assert caught.value.name == "regex"
    assert num_made == 3
    again = Waiting()
    monkeypatch.setattr(compiler_file, "try_out", None)
    compiler.compile_later(large_schema(), again)
    assert isinstance(again.wait(), Matcher)


def test_the_same_text_under_another_name_is_something_else(compiler):
    text = '"abc"'
    by_regex = compiler.compile(SamplingParams(regex=text))
    by_choice = compiler.compile(SamplingParams(choice=(text,)))
    by_choices = compiler.compile(SamplingParams(choice=(text[:2], text[2:])))
    assert [m.accept(ord('"')) for m in (by_regex, by_choice, by_choices)] == [True, True, True]
    assert [m.accept(ord("a")) for m in (by_regex, by_choice, by_choices)] == [True, True, True]
    assert [m.complete for m in (by_regex, by_choice, by_choices)] == [False, False, True]


def test_what_is_kept_has_a_bound(compiler, monkeypatch):
    monkeypatch.setattr(compiler_file, "_MAX_KEPT", 5)
    monkeypatch.setattr(compiler_file, "_MAX_KEPT_SIZE", 40)
    for i in range(20):
        compiler.compile(SamplingParams(regex=f"only once, {i:03}"))
    assert len(compiler._kept) == 2
    assert compiler._sizes.keys() == compiler._kept.keys()
    compiler.compile(SamplingParams(regex="x" * 100))
    assert len(compiler._kept) == 1, "the one just asked for is kept, however long"


def test_a_large_grammar_is_tried_in_a_process_of_its_own_and_then_followed(compiler):
    params = large_schema()
    assert len(params.json_schema) > LARGE
    assert try_out(params, FAKE_VOCABULARY) == grammar_text(params)
    matcher = compiler.compile(params)
    for byte in b'{"key number 0": 17, "key number 599": 1}':
        assert matcher.accept(byte)
    assert matcher.complete


@pytest.mark.parametrize(
    ("token", "id"), [("<s>", BOS), ("<|im_start|>", IM_START), ("<[258]>", IM_START), ("<[0-257]>", BOS), ("<[*]>", IM_START)]
)
def test_a_doubtful_grammar_may_name_the_models_own_tokens(compiler, token, id):
    """As the grammars of tool calls do."""
    params = SamplingParams(grammar=f"start: {token} A\nA: /[ab]+/ & /b.*/\n")
    assert is_doubtful(params)
    matcher = compiler.compile(params)
    assert matcher.accept(id)
    assert matcher.accept(ord("b"))


@pytest.mark.parametrize("token", ["<|nobody|>", "<[260]>", "<[9999]>"])
def test_a_doubtful_grammar_with_tokens_that_the_model_lacks_is_wrong(compiler, token):
    with pytest.raises(InvalidParameter, match="grammar: cannot be followed"):
        compiler.compile(SamplingParams(grammar=f"start: {token} A\nA: /[ab]+/ & /b.*/\n"))


@pytest.mark.parametrize("ends", [(), (5,), (5, 299)])
def test_a_doubtful_grammar_where_special_tokens_come_first_or_do_not_end(ends):
    names = tuple(b"<special %d>" % i for i in range(10))
    pieces = (*names, *(bytes([i]) for i in range(256)), *(b"word%d" % i for i in range(34)))
    vocabulary = Vocabulary(pieces, frozenset(map(TokenId, range(10))), frozenset(map(TokenId, ends)))
    compiler = Compiler(vocabulary)
    for grammar in ("start: <[3]> A\nA: /[ab]+/ & /b.*/\n", "start: A\nA: /[ab]+/ & /b.*/\n"):
        assert compiler.compile(SamplingParams(grammar=grammar)).error == ""


def test_what_would_end_the_process_is_an_error(compiler):
    with pytest.raises(InvalidParameter, match="grammar: is too large to be compiled"):
        compiler.compile(lark_chain(30_000))
    assert isinstance(compiler.compile(SMALL), Matcher)


def test_a_lane_has_the_stack_for_whatever_is_small(compiler):
    longest = next(n for n in range(1_000, 5_000, 50) if len(lark_chain(n + 50).grammar) > LARGE)
    rules = lark_chain(longest)
    terminals = SamplingParams(grammar=rules.grammar.replace("r", "R").replace("staRt", "start"))
    for params in (rules, terminals):
        assert len(params.grammar) <= LARGE
        waiting = Waiting()
        compiler.compile_later(params, waiting)
        assert isinstance(waiting.wait(), Matcher)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(grammar="start: A\nA: /.*a.{18}/ & /.*b.{17}/ & ~/.*c.{16}/\n"),
        SamplingParams(json_schema=r'{"type": "string", "allOf": [{"\u0070attern": "a.{18}"}, {"\u0070attern": "b"}]}'),
        SamplingParams(grammar='{"type": "string", "maxLength": 30, "pattern": "a.{18}"}'),
        lark_chain(3_000),
        SamplingParams(choice=("x" * LARGE, "y")),
    ],
)
def test_what_was_seen_to_take_minutes_is_doubtful(params):
    assert is_doubtful(params)


@pytest.mark.parametrize(
    "params",
    [
        SMALL,
        SamplingParams(grammar='root ::= "a" | "b" [^c]'),
        SamplingParams(json_schema='{"type": "object", "description": "R&D ~ all"}'),
        SamplingParams(choice=("R&D", "~")),
    ],
)
def test_the_usual_is_not(params):
    assert not is_doubtful(params)


def test_what_takes_too_long_is_an_error_and_its_process_is_ended():
    began_s = time.monotonic()
    with pytest.raises(InvalidParameter, match="grammar: takes more than 1 seconds to compile"):
        try_out(chain(30_000), FAKE_VOCABULARY, max_s=1)
    assert time.monotonic() - began_s < 20


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (SamplingParams(json_schema='{"type": "nonsense", "x": "%s"}' % ("y" * LARGE)), "json_schema: cannot be followed"),
        (SamplingParams(json_schema="[" * 2 * LARGE), "json_schema: is not a JSON schema"),
        (SamplingParams(regex="(" + "x" * LARGE), "regex: cannot be followed"),
        (SamplingParams(grammar="root ::= (" + "x" * LARGE), "grammar: is not GBNF"),
        (SamplingParams(choice=("\ud800" + "x" * LARGE,)), "choice: has half a character"),
        (SamplingParams(choice=("x" * (1 << 19), "y" * (1 << 20))), "choice: may have 1,048,576 characters"),
    ],
)
def test_a_large_one_that_is_wrong_says_so_as_a_small_one_does(compiler, params, says):
    waiting = Waiting()
    compiler.compile_later(params, waiting)
    error = waiting.wait()
    assert isinstance(error, InvalidParameter)
    assert str(error).startswith(says)
    assert "\n" not in str(error)
    assert len(str(error)) < 500


def test_closing_waits_for_nobody(monkeypatch):
    go_on, begun = threading.Event(), threading.Event()

    def slow(params: SamplingParams, vocabulary: Vocabulary) -> str:
        begun.set()
        go_on.wait(LONG_S)
        return grammar_text(params)

    monkeypatch.setattr(compiler_file, "try_out", slow)
    compiler = Compiler(FAKE_VOCABULARY)
    first, second = Waiting(), Waiting()
    compiler.compile_later(large_schema(600), first)
    compiler.compile_later(large_schema(601), second)
    assert begun.wait(LONG_S)
    compiler.close()
    go_on.set()
    assert isinstance(first.wait(), Matcher)
    assert second.result is None
