"""A draft model beside a model: its tokens, its memory, and what is asked of whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from publican.core.errors import InvalidParameter, ModelNotFound, OutOfMemory, UnsupportedModel
from publican.core.events import Delta, Failed
from publican.core.request import Request, Stopping, TextPrompt
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.hardware.machine import Machine, described_machine
from publican.hardware.plan import Devices, beside
from publican.hardware.sizes import GIB, MIB
from publican.host import draft as drafts
from publican.host.asked_options import with_asked
from publican.host.draft import check_tokens
from publican.host.guessing import has_draft, max_drafting, max_guessing
from publican.host.in_process import ThreadPort
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.store.catalogue import StoredModel
from tests.executors.native import tiny
from tests.host.tokenizer import folders

OPTIONS = LoadOptions(context_len=512, num_users=2, max_running=4, draft_model="small", threads=1)


def pieces(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """What is said of a model with the first pieces and a draft with the second."""

    def check(ours: tuple[bytes, ...], theirs: tuple[bytes, ...]) -> None:
        class Tokenizer:
            vocabulary = Vocabulary(theirs)

        monkeypatch.setattr(drafts, "load_tokenizer", lambda checkpoint: Tokenizer)
        monkeypatch.setattr(drafts, "open_checkpoint", lambda path: None)
        check_tokens("large", Vocabulary(ours), StoredModel("small", Path(), "gguf", 0, 0.0))

    return check


def test_the_same_tokens_are_fine_and_padding_too(checked):
    checked(pieces("a", "b"), pieces("a", "b"))
    many = tuple(b"%d" % i for i in range(1_000))
    checked(many, many[:-5])
    checked(many[:-5], many)


def test_other_tokens_are_refused_in_one_sentence(checked):
    with pytest.raises(UnsupportedModel) as caught:
        checked(pieces("a", "b", "c"), pieces("a", "x", "y"))
    assert str(caught.value) == (
        "The draft model small does not have the tokens of large (token 1 is b'b' in one and b'x' in the other); "
        "take a smaller model of the same family."
    )
    with pytest.raises(UnsupportedModel, match="there are 1,000 in one and 900 in the other"):
        checked(tuple(b"%d" % i for i in range(1_000)), tuple(b"%d" % i for i in range(900)))


def library(folder: Path, options: LoadOptions = OPTIONS, machine: Machine | None = None) -> ModelLibrary:
    machine = machine or described_machine((), 16 * GIB, 1)
    return ModelLibrary(folder, options, ThreadPort, 8, lambda: machine)


@pytest.fixture(scope="module")
def folder(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model twice, and one whose tokens are others."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("large", "small"):
        (folder / f"{name}.gguf").symlink_to(default_model)
    tokenizer = folders.byte_level()
    other = tiny.save(tiny.make("Llama", vocab_size=tokenizer.get_vocab_size()), folder / "other")
    tokenizer.save(str(other / "tokenizer.json"))
    (other / "tokenizer_config.json").write_text("{}")
    return folder


def opened(folder: Path, options: LoadOptions = OPTIONS, machine: Machine | None = None, name: str = "large"):
    models = library(folder, options, machine)
    asyncio.run(models.open(name, {}))
    assert models.last_opened is not None
    return models.last_opened


def test_weights_and_cache_of_both_are_planned(folder):
    alone, both = opened(folder, replace(OPTIONS, draft_model="")), opened(folder)
    assert alone.spec.draft is None
    draft = both.spec.draft
    assert draft is not None
    assert (draft.context_len, draft.num_tokens, draft.max_running) == (512, 1_024, 4)
    assert draft.vocabulary is both.spec.vocabulary
    assert both.spec.planned_bytes[0] > alone.spec.planned_bytes[0] + 90 * MIB
    assert both.spec.max_guessing > alone.spec.max_guessing
    (decision,) = [each for each in both.fit.decisions if each.name == "draft"]
    assert "small" in decision.value
    assert decision.flag == "--draft-model"


def test_what_the_draft_takes_the_model_has_not(folder):
    wish = replace(OPTIONS, context_len=None, num_users=1)
    for total_mib in (850, 1_100):
        machine = described_machine((), total_mib * MIB, 1)
        alone = opened(folder, replace(wish, draft_model=""), machine)
        both = opened(folder, wish, machine)
        assert both.draft is not None
        held = both.fit.plan.total_bytes + both.draft.fit.plan.total_bytes
        (ram,) = {share.device for share in both.fit.plan.shares}
        assert held + ram.reserve_bytes <= total_mib * MIB
        assert both.fit.context_len <= alone.fit.context_len
        assert both.spec.draft.num_tokens <= both.spec.num_tokens
    with pytest.raises(OutOfMemory, match="for the draft model small beside it"):
        opened(folder, replace(wish, context_len=2_048), described_machine((), 560 * MIB, 1))


def test_beside_takes_from_each_memory_what_lies_there(folder):
    machine = described_machine((4 * GIB,), 16 * GIB, 1)
    plan = opened(folder, replace(OPTIONS, draft_model="")).fit.plan
    assert Devices.of(beside(machine, plan)).ram.free_bytes == 16 * GIB - plan.total_bytes
    assert beside(machine, plan).gpus == machine.gpus


def test_a_draft_of_another_family_is_refused(folder):
    with pytest.raises(UnsupportedModel, match="other does not have the tokens of large"):
        opened(folder, replace(OPTIONS, draft_model="other"))
    with pytest.raises(ModelNotFound):
        opened(folder, replace(OPTIONS, draft_model="nowhere"))


def test_the_owners_draft_is_left_out_where_another_model_does_not_suit_it(folder):
    models = library(folder, replace(OPTIONS, context_len=64))
    asyncio.run(models.open("large", {}))
    assert models.last_opened.spec.draft is not None
    asyncio.run(models.open("other", {}))
    assert models.last_opened.spec.draft is None
    with pytest.raises(UnsupportedModel, match="large does not have the tokens of other"):
        asyncio.run(models.open("other", {"draft_model": "large"}))


@pytest.mark.parametrize("speculate", ["ngram", "off"])
def test_who_wants_other_guesses_or_none_has_no_draft(folder, speculate):
    it = opened(folder, replace(OPTIONS, speculate=speculate))
    assert it.spec.draft is None
    assert it.spec.max_guessing == max_guessing(speculate, "native")
    assert not has_draft("auto", "")
    assert max_drafting("cuda") > max_drafting("cpu")


def test_a_path_is_the_owners_alone(folder, default_model):
    models = library(folder, replace(OPTIONS, draft_model=str(default_model)))
    with pytest.raises(ModelNotFound):
        asyncio.run(models.open("large", {}))
    models.add_draft(str(default_model), next(m for m in asyncio.run(models._stored()).values() if m.name == "small"))
    asyncio.run(models.open("large", {}))
    with pytest.raises(ModelNotFound):
        asyncio.run(models.open("large", {"draft_model": "/etc/passwd"}))


@pytest.mark.parametrize(
    "asked",
    [{"draft_model": "tiny"}, {"model_draft": "tiny"}, {"draft_model": {"draft_model_name": "tiny", "draft_rope_alpha": 1}}],
)
def test_a_draft_may_be_asked_for(asked):
    assert with_asked(LoadOptions(), asked).draft_model == "tiny"


def test_a_form_that_says_nothing_of_drafts():
    for silent in ({"model_draft": "None"}, {"draft_model": None}, {"draft_model": {}}, {"draft_model": ""}):
        assert with_asked(OPTIONS, silent).draft_model == "small"
    for wrong in ({"draft_model": 3}, {"draft_model": ["x"]}, {"draft_model": "x" * 5_000}):
        with pytest.raises(InvalidParameter, match="draft_model"):
            with_asked(OPTIONS, wrong)


async def _answers(models: ModelLibrary, requests: list[Request]) -> tuple[list[str], tuple[int, int]]:
    model = await models.open("large", {})
    try:
        await model.start()
        streams = [await model.generate(request) for request in requests]

        async def text(stream) -> str:
            parts = []
            async for event in stream:
                assert not isinstance(event, Failed), event
                parts.append(event.text if isinstance(event, Delta) else "")
            return "".join(parts)

        texts = await asyncio.wait_for(asyncio.gather(*map(text, streams)), 120)
        await asyncio.sleep(0.5)  # the numbers come after the last event
        return texts, (model.status.num_guessed, model.status.num_true)
    finally:
        await model.close()


def test_in_one_process_the_answers_are_the_same(folder):
    """The default model guesses for itself: always right, and too slow to be asked often."""
    requests = [
        Request(TextPrompt(text), SamplingParams(temperature=temperature, seed=3), Stopping(max_tokens=24))
        for text in ("Once upon a time", "The capital of France is")
        for temperature in (0.0, 0.8)
    ]
    alone, nothing = asyncio.run(_answers(library(folder, replace(OPTIONS, speculate="off")), requests))
    with_draft, (num_guessed, num_true) = asyncio.run(_answers(library(folder), requests))
    assert with_draft == alone
    assert nothing == (0, 0)
    assert num_guessed == num_true > 0
