"""best_of, beams and contrastive search on the fake, against the same written out by hand."""

import math

import numpy as np
import pytest

from publican.core.errors import InvalidParameter, Unsupported
from publican.core.events import Failed, FinishReason, Started
from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.executors.fake import EOS, FAKE_VOCABULARY, FakeExecutor, _digest, fake_info
from tests.engine.drive import Driver, bytes_of

MEMORIES = [Pages(16, 256), Pages(4, 512), Cells(4_096)]


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def beams_by_hand(prompt: str, num_beams: int, max_tokens: int, ends: bool) -> tuple[int, ...]:
    """The likeliest answer that beam search finds, length penalty 1, early_stopping false."""
    fake = FakeExecutor(fake_info(), ends=ends)
    running, ended = [(0.0, ())], []
    for step in range(1, max_tokens + 1):
        candidates = []
        for score, tokens in running:
            logprobs = log_softmax(fake._next([*bytes_of(prompt), *tokens]))
            candidates += [(score + logprobs[t], (*tokens, t)) for t in np.argsort(-logprobs, kind="stable")[:12]]
        candidates.sort(key=lambda c: -c[0])
        running = []
        for place, (score, tokens) in enumerate(candidates[: 3 * num_beams]):
            if tokens[-1] not in FAKE_VOCABULARY.end:
                running.append((score, tokens))
            elif place < num_beams:
                ended.append((score / len(tokens), tokens))
        running = running[:num_beams]
        ended = sorted(ended, reverse=True)[:num_beams]
        if len(ended) == num_beams and ended[-1][0] >= running[0][0] / step:
            return ended[0][1]
    ended += [(score / len(tokens), tokens) for score, tokens in running]
    return max(ended)[1]


@pytest.mark.parametrize(("num_beams", "ends"), [(2, False), (4, False), (3, True)])
def test_beams(memory, num_beams, ends):
    params = SamplingParams(seed=0, num_beams=num_beams)
    answer = Driver(fake_info(memory), ends=ends).ask("search this", sampling=params, max_tokens=20)
    expected = beams_by_hand("search this", num_beams, 20, ends)
    assert tuple(answer.tokens()) == expected
    assert answer.finished.usage.num_completion_tokens == len(expected)


def test_beams_give_several_answers_best_first(memory):
    params = SamplingParams(seed=0, num_beams=4)
    answer = Driver(fake_info(memory)).ask("several", sampling=params, wanted=Wanted(num_choices=3), max_tokens=10)
    texts = [answer.text(i) for i in range(3)]
    assert len(set(texts)) == 3
    assert all(answer.ended(i).reason is FinishReason.LENGTH for i in range(3))


def test_one_beam_is_greedy():
    greedy = Driver().ask("greedy", max_tokens=16)
    assert Driver().ask("greedy", sampling=SamplingParams(seed=0, num_beams=1, do_sample=False)).text() == greedy.text()


def test_beams_beside_others_and_with_little_memory():
    driver = Driver(fake_info(Pages(4, 60), context_len=120, num_slots=8))
    params = SamplingParams(seed=0, num_beams=3)
    ids = [driver.submit(f"{i} beams", sampling=params, max_tokens=30) for i in range(2)]
    others = [driver.submit(f"{i} plain prompt", max_tokens=60) for i in range(4)]
    driver.run()
    assert driver.engine.scheduler.num_preemptions > 0
    for i, id in enumerate(ids):
        assert tuple(driver.answers[id].tokens()) == beams_by_hand(f"{i} beams", 3, 30, False)
    for i, id in enumerate(others):
        assert driver.answers[id].text() == Driver().ask(f"{i} plain prompt", max_tokens=60).text()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0


def contrastive_by_hand(prompt: str, k: int, alpha: float, max_tokens: int) -> list[int]:
    fake = FakeExecutor(fake_info())

    def state(tokens):
        vector = np.random.default_rng(_digest(tokens)).standard_normal(8).astype(np.float32)
        return vector / np.linalg.norm(vector)

    tokens = list(bytes_of(prompt))
    states = [state(tokens[: i + 1]) for i in range(len(tokens))]
    out = []
    for _ in range(max_tokens):
        logprobs = log_softmax(fake._next(tokens))
        candidates = np.argsort(-logprobs, kind="stable")[:k]
        probabilities = np.exp(logprobs[candidates])
        probabilities /= probabilities.sum()  # top_k is one of the samplers, and what it leaves is renormalised
        scores = []
        for token, p in zip(candidates, probabilities, strict=True):
            likeness = max(float(state([*tokens, int(token)]) @ s) for s in states)
            scores.append((1 - alpha) * p - alpha * likeness)
        best = int(candidates[int(np.argmax(scores))])
        tokens.append(best)
        states.append(state(tokens))
        out.append(best)
    return out


def test_contrastive_search(memory):
    params = SamplingParams(temperature=1.0, seed=0, do_sample=False, top_k=4, penalty_alpha=0.6)
    answer = Driver(fake_info(memory, max_batch_tokens=16)).ask(
        "be different from this, please", sampling=params, max_tokens=12
    )
    assert answer.tokens() == contrastive_by_hand("be different from this, please", 4, 0.6, 12)
    assert answer.finished.usage.num_completion_tokens == 12


def test_contrastive_search_ends_stops_and_is_preempted():
    driver = Driver(fake_info(Pages(4, 40), context_len=100, num_slots=8))
    params = SamplingParams(temperature=1.0, seed=0, do_sample=False, top_k=3, penalty_alpha=0.5)
    ids = [driver.submit(f"{i} prompt", sampling=params, max_tokens=25) for i in range(3)]
    driver.submit("x" * 60, max_tokens=30)
    driver.run()
    for i, id in enumerate(ids):
        assert driver.answers[id].tokens() == contrastive_by_hand(f"{i} prompt", 3, 0.5, 25)
    assert driver.engine.scheduler.cache.num_locked_tokens == 0


def test_contrastive_search_needs_hidden_states():
    info = fake_info()
    driver = Driver(type(info)(**{f: getattr(info, f) for f in info.__slots__} | {"hidden_size": 0}))
    id = driver.submit("x", sampling=SamplingParams(seed=0, do_sample=False, top_k=4, penalty_alpha=0.6))
    driver.run()
    assert isinstance(driver.answers[id].events[-1], Failed)
    assert isinstance(driver.answers[id].events[-1].error, Unsupported)


def test_best_of_gives_the_likeliest(memory):
    params = SamplingParams(temperature=1.5, seed=9, best_of=5)
    answer = Driver(fake_info(memory)).ask("tries", sampling=params, wanted=Wanted(num_choices=2), max_tokens=12)
    tries = [
        Driver().ask("tries", sampling=SamplingParams(temperature=1.5, seed=9 + i), wanted=Wanted(logprobs=0), max_tokens=12)
        for i in range(5)
    ]

    def mean(one):
        logprobs = [t.logprob for e in one.events if hasattr(e, "tokens") for t in e.tokens]
        return sum(logprobs) / len(logprobs)

    best = sorted(tries, key=mean, reverse=True)
    assert [answer.text(i) for i in range(2)] == [t.text() for t in best[:2]]
    assert isinstance(answer.events[0], Started)
    assert answer.finished.usage.num_completion_tokens == 60


@pytest.mark.parametrize(
    ("params", "wanted", "error"),
    [
        ({"num_beams": 4, "penalty_alpha": 0.5, "top_k": 4}, Wanted(), InvalidParameter),
        ({"penalty_alpha": 0.5}, Wanted(), InvalidParameter),
        ({"num_beams": 2}, Wanted(num_choices=3), InvalidParameter),
        ({"num_beams": 2}, Wanted(logprobs=1), InvalidParameter),
        ({"num_beams": 2, "banned_strings": ("x",)}, Wanted(), InvalidParameter),
        ({"num_beams": 60}, Wanted(), Unsupported),
    ],
)
def test_what_cannot_be_combined_is_said(params, wanted, error):
    driver = Driver()
    id = driver.submit("x", sampling=SamplingParams(seed=0, **params), wanted=wanted)
    driver.run()
    (failed,) = driver.answers[id].events
    assert isinstance(failed.error, error)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("params", [{"num_beams": 3}, {"penalty_alpha": 0.6, "top_k": 3, "do_sample": False}])
def test_a_search_can_be_stopped(params, keep):
    driver = Driver()
    id = driver.submit("stop me", sampling=SamplingParams(seed=0, **params), max_tokens=100)
    for _ in range(8):
        driver.step()
    driver.abort(id, keep=keep)
    driver.run()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert not driver.engine.scheduler.running
    if keep:
        driver.answers[id].check()
        assert driver.answers[id].ended().reason is FinishReason.ABORTED
        assert math.isclose(len(driver.answers[id].text()), 7, abs_tol=1)
    else:
        assert not any(hasattr(e, "usage") for e in driver.answers[id].events)


def test_eos_is_no_text():
    answer = Driver(ends=True).ask("search", sampling=SamplingParams(seed=0, num_beams=3), max_tokens=400)
    assert answer.ended().stopped_by == EOS
