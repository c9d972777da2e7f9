import pytest

from publican.bench.executor_times import ExecutorTimer, some_tokens
from publican.core.executor import Cells, Pages
from publican.executors.fake import FakeExecutor, fake_info

MEMORIES = [Pages(16, 40), Cells(640), Cells(640, can_rewind=False)]


def timer(memory, room_len: int = 100, **fake) -> ExecutorTimer:
    info = fake_info(memory, num_slots=8, context_len=128, max_batch_tokens=32, max_logits=8)
    return ExecutorTimer(FakeExecutor(info, **fake), room_len)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_the_executor_computes_what_was_asked_for_and_nothing_twice(memory):
    made = timer(memory)
    made.decode_s(1, 50, 5)
    assert made.executor.num_tokens == 50 + 5
    made.decode_s(3, 50, 5)
    assert made.executor.num_tokens == 55 + 2 * 50 + 3 * 5
    made.prefill_s(90, seed=1)
    assert made.executor.num_tokens == 170 + 90


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_prompts_again_and_again_and_then_answers(memory):
    made = timer(memory)
    for seed in range(3):
        made.prefill_s(100, seed)
    assert len(made.decode_s(4, 60, 10)) == 10


def test_times_are_the_executors():
    made = timer(Pages(16, 40), step_s=0.01)
    assert all(t >= 0.01 for t in made.decode_s(2, 10, 4))
    assert made.prefill_s(64, seed=0) >= 0.02  # two steps of 32


@pytest.mark.parametrize(("memory", "fits"), [(Pages(16, 40), 5), (Cells(640), 6), (Cells(99), 0), (Cells(10_000), 8)])
def test_how_many_fit(memory, fits):
    assert timer(memory).num_that_fit() == fits


def test_tokens_are_the_same_for_the_same_seed():
    assert some_tokens(1, 50, 260) == some_tokens(1, 50, 260)
    assert len({tuple(some_tokens(seed, 50, 260)) for seed in range(-50, 50)}) == 100
    assert all(0 <= token < 5 for token in some_tokens(3, 200, 5))


def test_windowed_pages_go_round():
    """In a fraction of what the slots hold; the fake looks whether every window is there."""
    it = timer(Pages(4, 1_000, 10, 60))
    assert it.num_that_fit() == 60 // 12
    assert it.prefill_s(90, 1) >= 0.0
    assert len(it.decode_s(5, 60, 30)) == 30
    assert it.prefill_s(90, 2) >= 0.0
