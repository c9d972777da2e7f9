import itertools

import pytest

from publican.bench.engine_times import EngineTimer
from publican.core.errors import EngineError
from publican.core.executor import Cells, Pages
from publican.core.sampling import SamplingParams
from publican.executors.fake import FakeExecutor, fake_info

MEMORIES = [Pages(16, 120), Cells(1_920), Cells(1_920, can_rewind=False)]


def timer(memory, max_running: int = 8, **fake) -> EngineTimer:
    info = fake_info(memory, num_slots=16, context_len=400, max_batch_tokens=64, max_logits=16)
    return EngineTimer(FakeExecutor(info, **fake), SamplingParams(temperature=0.8, seed=1), max_running)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_all_decode_together_from_the_first_step(memory):
    made = timer(memory)
    for size in (1, 3, 8):
        steps = made.decode(size, 50, 10)
        assert len(steps) == 10
        assert {step.num_rows for step in steps} == {size}
        assert not any(step.num_prompt_tokens for step in steps)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_conversations_go_on_out_of_the_cache(memory):
    made = timer(memory)
    made.decode(4, 50, 10)
    before = made._engine.executor.num_tokens
    made.decode(4, 50, 10)
    assert made._engine.executor.num_tokens - before <= 4 * 12


def test_a_hit_computes_one_token():
    made = timer(Pages(16, 120))
    prompt = list(range(100))
    made.first_token_s(prompt)
    before = made._engine.executor.num_tokens
    made.first_token_s(prompt)
    assert made._engine.executor.num_tokens == before + 1


def test_times_are_the_steps():
    made = timer(Cells(1_920), step_s=0.01)
    assert all(step.execute_ms >= 10 for step in made.decode(2, 20, 4))
    assert made.first_token_s([9] * 130) >= 0.03  # three steps of 64


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_a_newcomer_comes_in_chunks_beside_the_others(memory):
    before, during = timer(memory).newcomer(3, 50, 300, 10)
    assert {step.num_rows for step in before} == {3}
    assert {step.num_rows for step in during} == {4}
    assert sum(step.num_prompt_tokens for step in during) == 300
    assert all(a.started_s <= b.started_s for a, b in itertools.pairwise((*before, *during)))


def test_too_little_memory_is_told_and_not_averaged():
    with pytest.raises(EngineError, match="never computed 6 sequences together"):
        timer(Cells(400)).decode(6, 80, 5)
