"""The oracle's cases beyond one step: beams, contrastive search, banned strings, token healing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from publican.core.events import TokenOutput
from publican.core.executor import Cells
from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping, Wanted
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.engine import Engine
from publican.engine.job import Job, Submit
from publican.engine.sampling.contrast import Contrast
from publican.engine.sampling.healing import Healer
from publican.engine.text import TextStream
from publican.executors.fake import FakeExecutor, fake_info
from tests.engine.drive import Answer

VECTORS = json.loads((Path(__file__).parent / "sampling" / "sampler_vectors.json").read_text())


def vocabulary(pieces: Sequence[str], end: Sequence[int] = ()) -> Vocabulary:
    return Vocabulary(tuple(piece.encode() for piece in pieces), end=frozenset(TokenId(token) for token in end))


class Chain(FakeExecutor):
    """A model whose next token depends on the last one alone."""

    def __init__(self, transition: Sequence[Sequence[float]]) -> None:
        super().__init__(replace(fake_info(Cells(512)), vocab_size=len(transition)))
        with np.errstate(divide="ignore"):
            self._logits = np.log(np.array(transition))

    def _next(self, tokens: Sequence[int]) -> np.ndarray:
        return self._logits[tokens[-1]]


@pytest.mark.parametrize("case", VECTORS["beam_search"], ids=lambda c: f"{c['num_beams']}-{c['max_new_tokens']}")
def test_beams(case):
    answer = Answer()
    names = [str(i) for i in range(len(case["transition"]))]
    engine = Engine(Chain(case["transition"]), vocabulary(names, [case["eos"]]), lambda r: answer.events.extend(_of(r)))
    params = SamplingParams(
        seed=0,
        num_beams=case["num_beams"],
        length_penalty=case["length_penalty"],
        early_stopping=str(case["early_stopping"]).lower(),
    )
    wanted = Wanted(num_choices=len(case["result"]))
    stopping = Stopping(max_tokens=case["max_new_tokens"])
    engine.inbox.put(Submit(Job(RequestId("x"), (TokenId(case["start_token"]),), params, stopping, wanted)))
    engine.handle_commands(wait=False)
    while engine.step():
        pass
    assert [answer.tokens(i) for i in range(len(case["result"]))] == [result["tokens"] for result in case["result"]]


def _of(report):
    return [event for _, event in report.events]


@pytest.mark.parametrize("case", VECTORS["contrastive_search"], ids=lambda c: str(c["penalty_alpha"]))
def test_contrastive_search(case):
    contrast = Contrast(case["penalty_alpha"])
    contrast.remember(np.array(case["context_hidden"], np.float32))
    states = [np.array([state], np.float32) for state in case["candidate_hidden"]]
    assert case["candidate_ids"][contrast.best(case["candidate_probs"], states)] == case["picked"]


@pytest.mark.parametrize("case", VECTORS["banned_strings"], ids=lambda c: c["banned_strings"][0])
def test_banned_strings(case):
    expected = case["expect"]
    stream = TextStream(vocabulary(case["pieces"]), banned=case["banned_strings"])
    text = ""
    for token in range(len(case["pieces"])):
        released = stream.push(TokenOutput(TokenId(token)))
        text += released.text
        if released.num_banned:
            assert token == expected["detected_after_token"]
            first = token + 1 - released.num_banned
            assert (first, case["pieces"][first]) == (expected["rewind_to_token"], expected["ban_piece_there"])
            stream.take_back(released.num_banned)
            break
    else:
        assert expected["detected_after_token"] is None
    assert text + stream.flush().text == expected["text_kept"]


@pytest.mark.parametrize("case", VECTORS["token_healing"], ids=lambda c: c["dropped_prompt_piece"])
def test_token_healing(case):
    mask = Healer(vocabulary(case["pieces"])).mask(case["dropped_prompt_piece"].encode())
    assert np.flatnonzero(mask).tolist() == case["allowed_ids"]
