"""The engine on real weights: grammars on the default model, guidance and beams against transformers on a tiny random one."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping, Wanted
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.engine import Engine
from publican.engine.job import Job, Report, Submit
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.library import LibraryMissing
from publican.executors.native.loading import load
from publican.host.tokenizer import load_tokenizer
from publican.store.checkpoint import open_checkpoint
from tests.engine.drive import Answer
from tests.executors.native import tiny

NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 24}, "number": {"type": ["integer", "null"]}},
            "required": ["street", "number"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "address"],
    "additionalProperties": False,
}


class Asking:
    """An engine without a thread, on any executor."""

    def __init__(self, executor, vocabulary: Vocabulary) -> None:
        self.answers: dict[RequestId, Answer] = defaultdict(Answer)
        self.engine = Engine(executor, vocabulary, self._emit)

    def _emit(self, report: Report) -> None:
        for id, event in report.events:
            self.answers[id].events.append(event)

    def submit(self, tokens, sampling, max_tokens: int, num_choices: int = 1, negative=()) -> RequestId:
        id = RequestId(str(len(self.answers)))
        self.answers[id] = Answer()
        wanted = Wanted(num_choices=num_choices)
        job = Job(id, tuple(map(TokenId, tokens)), sampling, Stopping(max_tokens=max_tokens), wanted, tuple(negative))
        self.engine.inbox.put(Submit(job))
        return id

    def run(self) -> None:
        while True:
            self.engine.handle_commands(wait=self.engine.is_compiling and not self.engine.scheduler.running)
            if not self.engine.step() and not self.engine.is_compiling:
                return


@pytest.fixture(scope="module")
def default(default_model: Path):
    checkpoint = open_checkpoint(default_model)
    tokenizer = load_tokenizer(checkpoint)
    try:
        executor = load(checkpoint, NativeConfig(backend="cpu", context_len=512, num_slots=32, max_logits=64))
    except LibraryMissing:
        executor = load(checkpoint, NativeConfig(backend="plain", context_len=512, num_slots=32, max_logits=64))
    return executor, tokenizer


def is_valid(text: str) -> bool:
    value = json.loads(text)
    address = value["address"]
    return (
        set(value) == {"name", "age", "tags", "address"}
        and isinstance(value["name"], str)
        and 0 <= value["age"] <= 150
        and len(value["tags"]) <= 3
        and set(value["tags"]) <= {"red", "green", "blue"}
        and set(address) == {"street", "number"}
        and isinstance(address["street"], str)
        and (address["number"] is None or isinstance(address["number"], int))
    )


@pytest.mark.slow
def test_two_hundred_answers_are_all_valid(default):
    """Temperature 1.5, four choices a request, fifty requests, all in one batch or another; a number may grow too long."""
    executor, tokenizer = default
    asking = Asking(executor, tokenizer.vocabulary)
    prompt = tokenizer.encode("<|im_start|>user\nInvent a person, as JSON.<|im_end|>\n<|im_start|>assistant\n")
    ids = [
        asking.submit(prompt, SamplingParams(temperature=1.5, seed=100 * i, json_schema=json.dumps(NESTED)), 300, num_choices=4)
        for i in range(50)
    ]
    asking.run()
    answers = [(asking.answers[id].text(i), asking.answers[id].ended(i).reason) for id in ids for i in range(4)]
    whole = [text for text, reason in answers if reason == "stop"]
    assert all(is_valid(text) for text in whole)
    assert len(whole) >= 195, "only endless numbers may run into the limit"
    assert len(set(whole)) > 150


def greedy(model, tokens: list[int], num_tokens: int, **options) -> list[int]:
    config = {"do_sample": False, "max_new_tokens": num_tokens, "min_new_tokens": num_tokens, "pad_token_id": 0} | options
    with torch.no_grad():
        out = model.generate(torch.tensor([tokens]), **config)
    return out[0, len(tokens) :].tolist()


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory):
    tiny.quiet()
    model = tiny.make("Llama", seed=3, tie_word_embeddings=False)
    folder = tiny.save(model, tmp_path_factory.mktemp("tiny"))
    config = NativeConfig(backend="plain", context_len=128, num_slots=16, max_logits=32)
    vocabulary = Vocabulary(tuple(f"<{i}>".encode() for i in range(model.config.vocab_size)))
    model.generation_config.eos_token_id = None
    return model, lambda ends=frozenset(): Asking(load(open_checkpoint(folder), config), replace(vocabulary, end=ends))


def test_guidance_is_transformers_guidance(random_model):
    model, asking_it = random_model
    random = np.random.default_rng(0)
    prompt, negative = (random.integers(0, model.config.vocab_size, n).tolist() for n in (12, 30))
    expected = greedy(model, prompt, 20, guidance_scale=2.5, negative_prompt_ids=torch.tensor([negative]))
    asking = asking_it()
    params = SamplingParams(temperature=0.0, seed=0, guidance_scale=2.5)
    id = asking.submit(prompt, params, 20, negative=negative)
    beside = asking.submit(prompt, SamplingParams(temperature=0.0, seed=0), 20)
    asking.run()
    assert asking.answers[id].tokens() == expected
    assert asking.answers[beside].tokens() == greedy(model, prompt, 20)


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, 1.0), (4, 1.0), (4, 0.0), (3, 2.0)])
def test_beams_are_transformers_beams(random_model, num_beams: int, length_penalty: float):
    model, asking_it = random_model
    prompt = np.random.default_rng(num_beams).integers(0, model.config.vocab_size, 15).tolist()
    expected = greedy(model, prompt, 16, num_beams=num_beams, length_penalty=length_penalty)
    asking = asking_it()
    id = asking.submit(prompt, SamplingParams(seed=0, num_beams=num_beams, length_penalty=length_penalty), 16)
    asking.run()
    assert asking.answers[id].tokens() == expected


def test_beams_that_end_are_transformers_beams(random_model):
    model, asking_it = random_model
    random = np.random.default_rng(5)
    ends = frozenset(TokenId(t) for t in random.integers(0, model.config.vocab_size, 40).tolist())
    for seed in range(4):
        prompt = np.random.default_rng(seed).integers(0, model.config.vocab_size, 10).tolist()
        expected = greedy(model, prompt, 24, num_beams=3, eos_token_id=sorted(ends), min_new_tokens=0, early_stopping=False)
        asking = asking_it(ends)
        id = asking.submit(prompt, SamplingParams(seed=0, num_beams=3), 24)
        asking.run()
        assert asking.answers[id].tokens() == expected
