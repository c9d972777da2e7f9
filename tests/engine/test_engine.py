import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError, OutOfMemory, PromptTooLong
from publican.core.events import Delta, Failed, FinishReason, Started
from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.engine.budget import BudgetConfig
from publican.engine.job import Close
from publican.executors.fake import EOS, fake_info
from tests.engine.drive import GREEDY, Driver

MEMORIES = [Pages(16, 128), Pages(4, 512), Cells(2_048)]


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


def alone(prompt: str, **rest) -> str:
    return Driver().ask(prompt, **rest).text()


def test_an_answer_has_the_length_that_was_asked_for(memory):
    answer = Driver(fake_info(memory)).ask("Hello", max_tokens=20)
    assert len(answer.text()) == 20
    assert answer.ended().reason == FinishReason.LENGTH
    usage = answer.finished.usage
    assert (usage.num_prompt_tokens, usage.num_completion_tokens) == (5, 20)


def test_together_is_as_alone(memory):
    driver = Driver(fake_info(memory))
    prompts = [f"prompt number {i} " * (i + 1) for i in range(8)]
    ids = [driver.submit(p) for p in prompts]
    driver.run()
    assert [driver.answers[id].text() for id in ids] == [alone(p) for p in prompts]


def test_a_long_prompt_comes_in_chunks_and_others_go_on(memory):
    driver = Driver(fake_info(memory), budget=BudgetConfig(min_tokens=8))
    short = driver.submit("short", max_tokens=100)
    driver.step()
    driver.submit("x" * 300, max_tokens=1)
    before = len(driver.answers[short].text())
    for steps in range(1, 11):
        driver.step()
        assert len(driver.answers[short].text()) == before + steps
    assert driver.executor.num_tokens <= 5 + 11 + 10 * 64


def test_a_regenerated_answer_computes_one_token(memory):
    driver = Driver(fake_info(memory))
    prompt = "The same prompt, which is longer than a page or two. " * 3
    first = driver.ask(prompt)
    num_tokens = driver.executor.num_tokens
    second = driver.ask(prompt, max_tokens=1)
    assert driver.executor.num_tokens == num_tokens + 1
    assert second.finished.usage.num_cached_tokens == len(prompt) - 1
    assert first.text()[0] == second.text()


def test_a_shared_card_is_computed_once(memory):
    driver = Driver(fake_info(memory))
    card = "You are a pirate. " * 20
    ids = [driver.submit(card + f"user {i}", max_tokens=4) for i in range(8)]
    driver.run()
    assert driver.executor.num_tokens < len(card) + 8 * (4 + 6 + 32)
    assert driver.answers[ids[3]].text() == alone(card + "user 3", max_tokens=4)


def test_several_choices_share_one_prefill(memory):
    driver = Driver(fake_info(memory))
    prompt = "Tell me something. " * 10
    answer = driver.ask(prompt, sampling=SamplingParams(seed=7), wanted=Wanted(num_choices=4), max_tokens=12)
    assert driver.executor.num_tokens <= len(prompt) + 3 * 32 + 4 * 12
    assert len({answer.text(i) for i in range(4)}) > 1
    assert answer.finished.usage.num_completion_tokens == 48
    for i in range(4):
        assert answer.text(i) == alone(prompt, sampling=SamplingParams(seed=7 + i), max_tokens=12)


def test_preemption_changes_nothing():
    driver = Driver(fake_info(Pages(4, 30), context_len=100))
    prompts = [f"{i} a prompt of some tokens" for i in range(6)]
    ids = [driver.submit(p, max_tokens=60, sampling=SamplingParams(seed=i)) for i, p in enumerate(prompts)]
    driver.run()
    assert driver.engine.scheduler.num_preemptions > 0
    for i, (id, prompt) in enumerate(zip(ids, prompts, strict=True)):
        driver.answers[id].check()
        assert driver.answers[id].text() == alone(prompt, max_tokens=60, sampling=SamplingParams(seed=i))


def test_the_oldest_is_never_put_back():
    driver = Driver(fake_info(Pages(4, 26), context_len=100))
    ids = [driver.submit(f"{i} a prompt of some tokens", max_tokens=60) for i in range(5)]
    ends = []
    for _ in range(2_000):
        driver.step()
        ends += [
            i
            for i, id in enumerate(ids)
            if id in driver.answers
            and i not in ends
            and driver.answers[id].events[-1:]
            and type(driver.answers[id].events[-1]).__name__ == "Finished"
        ]
    assert ends[0] == 0
    assert sorted(ends) == list(range(5))


def test_a_cell_executor_without_room_is_obeyed():
    """The books say there is room and the executor says there is none: nothing is lost."""
    driver = Driver(fake_info(Cells(512)))
    driver.executor._memory._info = fake_info(Cells(80))
    ids = [driver.submit(f"{i} prompt of tokens", max_tokens=30) for i in range(4)]
    driver.run()
    assert all(driver.answers[id].text() == alone(f"{i} prompt of tokens", max_tokens=30) for i, id in enumerate(ids))
    driver.executor._memory._info = fake_info(Cells(10))
    id = driver.submit("more than ten tokens of prompt")
    driver.run()
    (failed,) = driver.answers[id].events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OutOfMemory)
    assert driver.ask("few", max_tokens=4).text() == alone("few", max_tokens=4)


def test_a_prompt_over_the_context_is_refused_with_the_counts(memory):
    driver = Driver(fake_info(memory))
    id = driver.submit("x" * 512)
    driver.run()
    (failed,) = driver.answers[id].events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, PromptTooLong)
    assert "512" in str(failed.error)
    assert driver.ask("y" * 511, max_tokens=None).ended().reason == FinishReason.LENGTH


def test_a_full_context_ends_the_answer(memory):
    answer = Driver(fake_info(memory, context_len=64)).ask("x" * 40, max_tokens=None)
    assert len(answer.text()) == 24
    assert answer.ended().reason == FinishReason.LENGTH


def test_a_stop_string_ends_the_answer_and_is_not_shown():
    whole = alone("Once upon a time", max_tokens=40)
    stop = whole[10:14]
    answer = Driver().ask("Once upon a time", max_tokens=40, strings=(stop,))
    assert answer.text() == whole[: whole.index(stop)]
    assert answer.ended().stopped_by == stop


def test_end_of_sequence_ends_the_answer_unless_ignored():
    answer = Driver(ends=True).ask("hi", max_tokens=None)
    assert answer.ended().stopped_by == EOS
    assert answer.tokens()[-1] == EOS
    assert "</s>" not in answer.text()
    ignoring = Driver(ends=True).ask("hi", max_tokens=200, ignore_eos=True)
    assert EOS in ignoring.tokens()[:-1]


def test_an_abort_reaches_the_engine_within_a_step(memory):
    driver = Driver(fake_info(memory))
    gone, stays = driver.submit("gone", max_tokens=200), driver.submit("stays", max_tokens=30)
    for _ in range(5):
        driver.step()
    driver.abort(gone)
    seen = len(driver.answers[gone].events)
    driver.run()
    assert len(driver.answers[gone].events) == seen
    assert driver.answers[stays].text() == alone("stays", max_tokens=30)


def test_an_abort_in_the_middle_of_a_prompt_or_in_the_queue():
    driver = Driver(max_running=1)
    prefilling, queued, last = driver.submit("p" * 300), driver.submit("q"), driver.submit("last")
    driver.step()
    driver.abort(prefilling)
    driver.abort(queued)
    driver.run()
    assert not driver.answers[prefilling].events
    assert not driver.answers[queued].events
    assert driver.answers[last].text() == alone("last")


def test_a_kept_abort_ends_with_what_there_is(memory):
    driver = Driver(fake_info(memory))
    id = driver.submit("keep this", max_tokens=200)
    for _ in range(6):
        driver.step()
    driver.abort(id, keep=True)
    driver.run()
    driver.answers[id].check()
    assert driver.answers[id].ended().reason == FinishReason.ABORTED
    assert driver.answers[id].text() == alone("keep this", max_tokens=6)


def test_no_tokens_at_all():
    answer = Driver().ask("nothing", max_tokens=0)
    assert answer.text() == ""
    assert answer.finished.usage.num_completion_tokens == 0


def test_prompt_log_probabilities(memory):
    driver = Driver(fake_info(memory, max_logits=16))
    prompt = "How likely is this prompt? " * 3
    driver.ask(prompt)  # in the cache: it must be read all the same
    answer = driver.ask(prompt, wanted=Wanted(logprobs=2, prompt_logprobs=2), max_tokens=4)
    started = answer.events[0]
    assert isinstance(started, Started)
    assert [t.piece for t in started.prompt] == [bytes([c]) for c in prompt.encode()]
    assert started.prompt[0].logprob is None
    assert all(t.logprob is not None and len(t.top) == 2 for t in started.prompt[1:])
    greedy = [t.piece for t in answer.events[1].tokens]
    assert greedy == [t.top[0].piece for t in answer.events[1].tokens]
    scored = driver.ask(prompt, wanted=Wanted(prompt_logprobs=0), max_tokens=0)
    assert [t.logprob for t in scored.events[0].prompt] == [t.logprob for t in started.prompt]


def test_log_probabilities_come_one_token_an_event():
    answer = Driver().ask("hello", wanted=Wanted(logprobs=3), max_tokens=8)
    deltas = [e for e in answer.events if isinstance(e, Delta)]
    assert all(len(d.tokens) == 1 and len(d.tokens[0].top) == 3 for d in deltas)
    assert all(d.tokens[0].logprob == d.tokens[0].top[0].logprob for d in deltas)


def test_the_engine_thread_fails_what_is_left_when_it_closes():
    driver = Driver(step_s=0.01)
    id = driver.submit("long", max_tokens=None)
    thread = threading.Thread(target=driver.engine.run, daemon=True)
    thread.start()
    driver.engine.inbox.put(Close())
    thread.join(10)
    assert driver.executor.closed
    assert isinstance(driver.answers[id].events[-1], Failed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_executor_that_breaks_fails_every_request():
    driver = Driver()
    ids = [driver.submit("a"), driver.submit("b")]
    driver.executor.execute = broken
    thread = threading.Thread(target=driver.engine.run, daemon=True)
    thread.start()
    thread.join(10)
    for id in ids:
        assert isinstance(driver.answers[id].events[-1], Failed)
        assert isinstance(driver.answers[id].events[-1].error, EngineError)


def test_where_not_even_one_fits_it_is_said_at_once():
    driver = Driver(fake_info(Cells(200)))
    driver.executor.execute = full
    id = driver.submit("too much")
    thread = threading.Thread(target=driver.engine.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not driver.answers[id].events:
        time.sleep(0.01)
    events = list(driver.answers[id].events)  # before anything else comes by the inbox
    driver.engine.inbox.put(Close())
    thread.join(10)
    assert [type(event) for event in events] == [Failed]


def test_a_prompt_that_never_fits_stands_in_nobodys_way():
    driver = Driver(fake_info(Pages(4, 12), context_len=100))
    too_long = driver.submit("x" * 60)
    behind = driver.submit("behind it", max_tokens=4)
    driver.run()
    assert [type(event) for event in driver.answers[too_long].events] == [Failed]
    assert driver.answers[behind].text() == alone("behind it", max_tokens=4)


def full(plan):
    raise OutOfMemory("no room")


def test_whoever_hears_no_more_does_not_keep_the_memory():
    driver = Driver()
    driver.submit("a")
    driver.engine._emit = broken
    with pytest.raises(RuntimeError, match="no more"):
        driver.engine.run()
    assert driver.executor.closed


def broken(plan):
    raise RuntimeError("no more")


actions = st.lists(
    st.tuples(st.sampled_from(["submit", "abort", "step", "step", "step"]), st.integers(0, 5), st.integers(1, 60)),
    max_size=60,
)


@pytest.mark.parametrize("memory", [Pages(4, 24), Pages(16, 8), Cells(100)], ids=str)
@given(actions=actions)
@settings(deadline=None, max_examples=60)
def test_whatever_comes_everyone_gets_the_answer_they_would_get_alone(memory, actions):
    driver = Driver(fake_info(memory, context_len=90, num_slots=6, max_batch_tokens=20), max_running=3)
    asked: dict = {}
    for action, which, size in actions:
        if action == "submit":
            prompt = ("common beginning " * 4)[:size] + str(which)
            id = driver.submit(prompt, max_tokens=size // 2, sampling=SamplingParams(seed=which, temperature=0.8))
            asked[id] = (prompt, size // 2, which)
        elif action == "abort" and asked:
            id = list(asked)[which % len(asked)]
            driver.abort(id)
            del asked[id]
        else:
            driver.step()
    driver.run()
    for id, (prompt, max_tokens, seed) in asked.items():
        driver.answers[id].check()
        expected = Driver(fake_info(context_len=90))
        answer = expected.ask(prompt, max_tokens=max_tokens, sampling=SamplingParams(seed=seed, temperature=0.8))
        assert driver.answers[id].text() == answer.text()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0


def test_a_prompt_is_not_passed_over_for_ever():
    driver = Driver(fake_info(max_batch_tokens=16), budget=BudgetConfig(max_tokens=16, min_tokens=16))
    long = driver.submit("L" * 200, max_tokens=1)
    for i in range(400):
        driver.submit(f"{i:03} short one", max_tokens=1)
        driver.step()
        if driver.answers.get(long) and driver.answers[long].events:
            break
    assert driver.answers[long].finished
    assert i < 380


def test_greedy_is_greedy():
    assert GREEDY.is_greedy
    assert alone("same") == alone("same")
