"""Answers that follow a grammar, on the fake: bytes for tokens, and nonsense for opinions."""

import json
import re

import pytest

from publican.core.errors import InvalidParameter, Unsupported
from publican.core.events import Failed, FinishReason
from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.engine.grammar.compiler import Compiler
from publican.executors.fake import fake_info
from tests.engine.drive import Driver

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["alpha", "beta"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
        },
        "required": ["kind", "count", "flags"],
        "additionalProperties": False,
    }
)


def sampling(temperature: float = 1.0, seed: int = 1, **rest) -> SamplingParams:
    return SamplingParams(temperature=temperature, seed=seed, **rest)


def is_valid(text: str) -> bool:
    value = json.loads(text)
    flags = value["flags"]
    return (
        set(value) == {"kind", "count", "flags"}
        and value["kind"] in ("alpha", "beta")
        and 0 <= value["count"] <= 99
        and 2 <= len(flags) <= 3
        and all(isinstance(flag, bool) for flag in flags)
    )


@pytest.mark.parametrize("memory", [Pages(16, 128), Pages(4, 512), Cells(2_048)], ids=str)
def test_a_schema_is_followed_by_everyone_at_once(memory):
    driver = Driver(fake_info(memory))
    ids = [driver.submit("x", sampling=sampling(1.5, i, json_schema=SCHEMA), max_tokens=200) for i in range(12)]
    plain = driver.submit("plain", max_tokens=30)
    driver.run()
    for id in ids:
        assert is_valid(driver.answers[id].text())
        assert driver.answers[id].ended().reason is FinishReason.STOP
    assert len({driver.answers[id].text() for id in ids}) > 3
    assert driver.answers[plain].text() == Driver().ask("plain", max_tokens=30).text()


def test_what_is_forced_is_not_asked_of_the_model():
    driver = Driver()
    answer = driver.ask("x", sampling=sampling(json_schema=SCHEMA), max_tokens=200)
    assert driver.executor.num_steps < len(answer.tokens()) / 2
    slow = Driver()
    with_logprobs = slow.ask("x", sampling=sampling(json_schema=SCHEMA), wanted=Wanted(logprobs=0), max_tokens=200)
    assert slow.executor.num_steps >= len(with_logprobs.tokens())
    assert is_valid(with_logprobs.text())


def test_each_choice_has_its_own_state():
    answer = Driver().ask("x", sampling=sampling(1.5, json_schema=SCHEMA), wanted=Wanted(num_choices=4), max_tokens=200)
    assert all(is_valid(answer.text(i)) for i in range(4))
    assert len({answer.text(i) for i in range(4)}) > 1


@pytest.mark.parametrize(
    ("params", "pattern"),
    [
        ({"regex": r"[a-c]{3}-\d{2,4}"}, r"[a-c]{3}-\d{2,4}"),
        ({"choice": ("yes", "no", 'may"be')}, r'yes|no|may"be'),
        ({"grammar": 'root ::= "<" [a-z]{1,5} ">" tail?\ntail ::= "!"+'}, r"<[a-z]{1,5}>!*"),
        ({"grammar": 'start: "a" WORD "."\nWORD: /[xyz]{2,6}/'}, r"a[xyz]{2,6}\."),
        ({"grammar": '{"type": "integer"}'}, r"-?\d+"),
        ({"grammar": 'root ::= "win"', "regex": "lose"}, "win"),
    ],
)
def test_every_kind_of_constraint(params, pattern):
    for seed in range(5):
        answer = Driver().ask("x", sampling=sampling(1.5, seed, **params), max_tokens=60)
        if answer.ended().reason is FinishReason.STOP:
            assert re.fullmatch(pattern, answer.text())


@pytest.mark.parametrize(
    "rest",
    [
        {"mirostat_mode": 2},
        {"top_k": 1},
        {"temperature": 0.0},
        {"repetition_penalty": 1.5, "dry_multiplier": 0.8},
        {"xtc_probability": 1.0, "xtc_threshold": 0.01},
        {"min_p": 0.5, "top_p": 0.1},
        {"banned_strings": ("alpha", "true")},
        {"best_of": 3},
        {"guidance_scale": 2.0},
    ],
)
def test_it_works_with_every_sampler(rest):
    params = SamplingParams(**({"temperature": 1.2, "seed": 4, "json_schema": SCHEMA} | rest))
    answer = Driver().ask("x", sampling=params, negative="no" if "guidance_scale" in rest else "", max_tokens=200)
    assert is_valid(answer.text())
    assert "alpha" not in answer.text() or "banned_strings" not in rest


def test_what_the_grammar_demands_is_said_though_it_is_banned():
    """It used to be tried again for ever."""
    for choice in ("yes", "no"):
        answer = Driver().ask("x", sampling=sampling(choice=(choice,), banned_strings=("e", "no")), max_tokens=10)
        assert answer.text() == choice


def test_preemption_loses_no_state():
    driver = Driver(fake_info(Pages(4, 40), context_len=120))
    ids = [driver.submit(f"{i} prompt", sampling=sampling(1.0, i, json_schema=SCHEMA), max_tokens=100) for i in range(5)]
    driver.run()
    assert driver.engine.scheduler.num_preemptions > 0
    for i, id in enumerate(ids):
        alone = Driver().ask(f"{i} prompt", sampling=sampling(1.0, i, json_schema=SCHEMA), max_tokens=100)
        assert driver.answers[id].text() == alone.text()


@pytest.mark.parametrize(
    "params",
    [
        {"json_schema": '{"type": "nonsense"}'},
        {"regex": "(unclosed"},
        {"grammar": "root ::= undefined"},
        {"grammar": "no grammar at all"},
        {"grammar": 'start: ("a"'},
        {"grammar": "x" * (1 << 21)},
        {"json_schema": "[" * 100_000},
        {"regex": "a\ud800"},
        {"grammar": 'start: "\ud800"'},
        {"grammar": 'root ::= "\ud800"'},
        {"choice": ("\ud800",)},
    ],
)
def test_a_bad_constraint_is_one_sentence(params):
    driver = Driver()
    id = driver.submit("x", sampling=sampling(**params))
    driver.run()
    (failed,) = driver.answers[id].events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidParameter)
    assert "\n" not in str(failed.error)
    assert len(str(failed.error)) < 500


def test_a_compiler_that_breaks_fails_whoever_waits(monkeypatch, caplog):
    class Panic(BaseException):
        """What a panic in Rust arrives as."""

    def panic(self, params):
        raise Panic

    monkeypatch.setattr(Compiler, "compile", panic)
    (failed,) = Driver().ask("x", sampling=sampling(regex="a")).events
    assert isinstance(failed.error, Unsupported)
    assert "Panic" in caplog.text


def test_others_do_not_wait_while_a_grammar_is_compiled():
    driver = Driver()
    hard = "start: " + " | ".join(f'"{"ab" * i}" /x{{1,{i}}}/' for i in range(1, 200))
    slow = driver.submit("x", sampling=sampling(grammar=hard), max_tokens=5)
    quick = driver.submit("quick", max_tokens=10)
    for _ in range(11):
        driver.step()
    assert driver.answers[quick].finished
    driver.run()
    assert driver.answers[slow].finished


def test_an_abort_while_it_is_compiled():
    driver = Driver()
    gone = driver.submit("x", sampling=sampling(json_schema=SCHEMA))
    driver.engine.handle_commands(wait=False)
    driver.abort(gone)
    driver.run()
    assert not driver.answers[gone].events
