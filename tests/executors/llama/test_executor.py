"""What core.executor promises, on real libllama: a llama, a Gemma with a window, a Mamba, of a few thousand weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError, OutOfMemory, PlanError
from publican.core.step import Free, Row, Share, StepPlan, Truncate
from tests.executors.llama.tiny import VOCAB_SIZE, WINDOW

MODELS = ["llama", "gemma", "mamba"]
ATOL = 3e-3  # a wrong token somewhere is off by 1


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return request.param


def some_tokens(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB_SIZE, length).tolist()


def alone(executor, tokens: list[int], num_logits: int = 1) -> np.ndarray:
    """The last logits of `tokens`, computed in slot 0 from nothing."""
    return executor.execute(StepPlan((Row(0, tokens, 0, num_logits),), (Free(0),))).logits.copy()


def close(a: np.ndarray, b: np.ndarray, atol: float = ATOL) -> bool:
    return a.shape == b.shape and float(np.abs(a - b).max()) < atol


def test_ragged_rows_are_what_each_is_alone(open_tiny, model):
    together, single = open_tiny(model), open_tiny(model)
    prompts = [some_tokens(i, length) for i, length in enumerate([1, 7, 40, 3, 60])]
    rows = tuple(Row(i, prompt, 0, min(2, len(prompt))) for i, prompt in enumerate(prompts))
    logits = together.execute(StepPlan(rows)).logits
    assert logits.dtype == np.float32
    assert logits.flags.writeable
    assert logits.shape == (9, VOCAB_SIZE)
    expected = np.concatenate([alone(single, prompt, min(2, len(prompt))) for prompt in prompts])
    assert close(logits, expected)
    assert (logits.argmax(1) == expected.argmax(1)).all()


def test_so_they_are_with_flash_attention_within_its_rounding(open_tiny):
    together, single = open_tiny(flash_attention=None, kv_dtype="auto"), open_tiny()
    prompts = [some_tokens(i, length) for i, length in enumerate([1, 7, 40, 3, 60])]
    logits = together.execute(StepPlan(tuple(Row(i, prompt, 0, 1) for i, prompt in enumerate(prompts)))).logits
    assert close(logits, np.concatenate([alone(single, prompt) for prompt in prompts]), atol=5e-2)


def test_decoding_beside_a_prompt_changes_neither(open_tiny, model):
    together, single = open_tiny(model), open_tiny(model)
    first, second = some_tokens(1, 30), some_tokens(2, 50)
    together.execute(StepPlan((Row(3, first[:-1], 0, 0),)))
    logits = together.execute(StepPlan((Row(5, second, 0, 1), Row(3, first[-1:], 29, 1)))).logits
    assert close(logits, np.concatenate([alone(single, second), alone(single, first)]))


def test_a_plan_larger_than_a_round_is_one_plan(open_tiny, model):
    tokens = some_tokens(3, 100)
    in_rounds, at_once = open_tiny(model, micro_batch_tokens=8), open_tiny(model, micro_batch_tokens=128)
    assert close(alone(in_rounds, tokens, 40), alone(at_once, tokens, 40))


def test_chunks_are_the_whole(open_tiny, model):
    executor, tokens = open_tiny(model), some_tokens(4, 60)
    whole = alone(executor, tokens)
    executor.execute(StepPlan((), (Free(0),)))
    for start in range(0, 60, 17):
        chunk = tokens[start : start + 17]
        logits = executor.execute(StepPlan((Row(0, chunk, start, 1),))).logits
    assert close(logits, whole)


def test_no_logits_wanted_are_none_given(open_tiny):
    executor = open_tiny()
    assert executor.execute(StepPlan((Row(0, [1, 2, 3], 0, 0),))).logits.shape == (0, VOCAB_SIZE)
    assert executor.execute(StepPlan(())).logits.shape == (0, VOCAB_SIZE)


def test_logits_may_be_written_to(open_tiny):
    executor = open_tiny()
    result = executor.execute(StepPlan((Row(0, [1, 2, 3], 0, 1),)))
    expected = result.logits.copy()
    result.logits[:] = -1.0
    assert close(alone(executor, [1, 2, 3]), expected)


@pytest.mark.parametrize("model", ["llama", "gemma"])
def test_a_shared_beginning_is_a_computed_one(open_tiny, model):
    executor, single = open_tiny(model), open_tiny(model)
    card = some_tokens(5, 60)
    executor.execute(StepPlan((Row(0, card, 0, 0),)))
    rows = tuple(Row(i, [i, i + 1], 30 + i, 1) for i in range(1, 8))
    logits = executor.execute(StepPlan(rows, tuple(Share(0, i, 30 + i) for i in range(1, 8)))).logits.copy()
    expected = np.concatenate([alone(single, [*card[: 30 + i], i, i + 1]) for i in range(1, 8)])
    assert close(logits, expected)
    after = executor.execute(StepPlan((Row(0, [9], 60, 1),), tuple(Free(i) for i in range(1, 8)))).logits
    assert close(after, alone(single, [*card, 9]))


def test_a_recurrent_state_is_shared_whole(open_tiny):
    executor, single = open_tiny("mamba"), open_tiny("mamba")
    card = some_tokens(6, 30)
    executor.execute(StepPlan((Row(0, card, 0, 0),)))
    logits = executor.execute(StepPlan((Row(1, [4], 30, 1), Row(0, [5], 30, 1)), (Share(0, 1, 30),))).logits
    assert close(logits, np.concatenate([alone(single, [*card, 4]), alone(single, [*card, 5])]))


def test_a_window_survives_neighbours_that_come_and_go(open_tiny):
    """libllama would give away cells that have left a window; a sequence cut back into its past still needs them."""
    executor, single = open_tiny("gemma"), open_tiny("gemma")
    short, long = some_tokens(7, 10), some_tokens(8, 120)
    executor.execute(StepPlan((Row(0, some_tokens(9, 60), 0, 0),)))
    executor.execute(StepPlan((Row(1, short, 0, 0),)))
    executor.execute(StepPlan((Row(2, long, 0, 0),)))
    executor.execute(StepPlan((Row(3, some_tokens(10, 100), 0, 0),), (Free(1),)))
    cut = 4 * WINDOW
    logits = executor.execute(StepPlan((Row(4, [5], cut, 1),), (Share(2, 4, cut),))).logits.copy()
    assert close(logits, alone(single, [*long[:cut], 5]))
    logits = executor.execute(StepPlan((Row(2, [6], cut - 9, 1),), (Truncate(2, cut - 9),))).logits
    assert close(logits, alone(single, [*long[: cut - 9], 6]))


actions = st.lists(
    st.tuples(st.sampled_from(["row", "row", "share", "cut", "free"]), *[st.integers(0, 2**16)] * 3), max_size=30
)


@pytest.mark.parametrize("model", MODELS)
@given(actions=actions)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_done_logits_are_those_of_the_tokens_held(open_tiny, model, actions):
    """Random sharing, cutting, freeing and computing; each step's logits against one row from nothing."""
    executor, single = open_executors(open_tiny, model)
    num_slots, can_rewind = executor.info.num_slots, executor.info.memory.can_rewind
    held: list[list[int]] = [[] for _ in range(num_slots)]
    ops: list = [Free(i) for i in range(num_slots)]
    for action, a, b, c in actions:
        slot, other = a % num_slots, b % num_slots
        if action == "share" and held[slot] and slot != other and not held[other]:
            length = len(held[slot]) if not can_rewind else 1 + c % len(held[slot])
            ops.append(Share(slot, other, length))
            held[other] = held[slot][:length]
        elif action == "cut" and can_rewind:
            length = c % (len(held[slot]) + 1)
            ops.append(Truncate(slot, length))
            del held[slot][length:]
        elif action == "free":
            ops.append(Free(slot))
            held[slot] = []
        elif action == "row":
            chosen = sorted({slot, other})
            new = {i: some_tokens(c + i, 1 + (c + i) % 45) for i in chosen if len(held[i]) < 150}
            rows = tuple(Row(i, tokens, len(held[i]), 1) for i, tokens in new.items())
            logits = executor.execute(StepPlan(rows, tuple(ops))).logits.copy()
            ops = []
            for i, tokens in new.items():
                held[i] = held[i] + tokens
            for logit_row, i in zip(logits, new, strict=True):
                assert close(logit_row[None], alone(single, held[i]))


def open_executors(open_tiny, model):
    """Two that live through all examples of a test: the one that is tried, and the one that knows."""
    if not hasattr(open_tiny, model):
        setattr(open_tiny, model, (open_tiny(model, num_cells=2048), open_tiny(model, max_batch_tokens=256)))
    return getattr(open_tiny, model)


# --- what goes wrong


def test_no_free_cells_leaves_everything_as_it_was(open_tiny):
    executor = open_tiny(num_cells=256, context_len=256)
    held = some_tokens(11, 120)
    executor.execute(StepPlan((Row(0, held, 0, 0),)))
    executor.execute(StepPlan((Row(1, held, 0, 0),)))
    with pytest.raises(OutOfMemory, match="20 more tokens"):
        executor.execute(StepPlan((Row(2, held[:20], 0, 1),)))
    logits = executor.execute(StepPlan((Row(0, [3], 120, 1),))).logits.copy()
    assert close(logits, alone(open_tiny(), [*held, 3]))


def test_without_room_the_operations_stand_and_the_rows_do_not(open_tiny):
    executor = open_tiny(num_cells=256, context_len=256)
    held = some_tokens(12, 120)
    executor.execute(StepPlan((Row(0, held, 0, 0),)))
    executor.execute(StepPlan((Row(1, held, 0, 0),)))
    with pytest.raises(OutOfMemory):
        executor.execute(StepPlan((Row(2, held, 0, 1),), (Truncate(1, 50),)))
    logits = executor.execute(StepPlan((Row(1, [3], 50, 1), Row(2, held[:30], 0, 1)))).logits.copy()
    single = open_tiny()
    assert close(logits, np.concatenate([alone(single, [*held[:50], 3]), alone(single, held[:30])]))


@pytest.mark.parametrize(
    "plan",
    [
        StepPlan((Row(0, [1], 21, 1),), (Free(1),)),
        StepPlan((Row(0, [VOCAB_SIZE], 20, 1),), (Free(0),)),
        StepPlan((Row(0, [1, 96, 2], 0, 1),), (Free(0),)),
        StepPlan((Row(0, [-1], 20, 1),), (Truncate(0, 3),)),
        StepPlan((Row(0, [1], 20, 1), Row(0, [1], 20, 1))),
        StepPlan((Row(0, [1] * 129, 20, 1),)),
        StepPlan((Row(0, [1] * 41, 20, 41),)),
        StepPlan((Row(8, [1], 0, 1),)),
        StepPlan((), (Share(0, 8, 1),)),
        StepPlan((), (Free(0), Share(0, 1, 1))),
    ],
    ids=str,
)
def test_a_bad_plan_is_refused_before_the_library_sees_it(open_tiny, model, plan):
    executor, held = open_tiny(model), some_tokens(13, 20)
    executor.execute(StepPlan((Row(0, held, 0, 0),)))
    with pytest.raises(PlanError):
        executor.execute(plan)
    logits = executor.execute(StepPlan((Row(0, [3], 20, 1),))).logits.copy()
    assert close(logits, alone(open_tiny(model), [*held, 3]))


@pytest.mark.parametrize("code", [2, -1, -2, -3])
def test_a_computation_that_fails_is_an_engine_error(open_tiny, monkeypatch, code):
    executor = open_tiny()
    monkeypatch.setattr(executor._session, "decode", lambda batch: code)
    with pytest.raises(EngineError, match=f"code {code}"):
        executor.execute(StepPlan((Row(0, [1], 0, 1),)))


def test_no_room_for_a_later_row_with_states_takes_the_earlier_ones_back(open_tiny, monkeypatch):
    """They are computed one after another; whoever plans takes none of a step's rows for computed if it failed."""
    executor = open_tiny()
    first, second = some_tokens(1, 20), some_tokens(2, 20)
    plan = StepPlan((Row(0, first, 0, 1, 20), Row(1, second, 0, 1, 20)))
    codes = iter([0, 1])
    decode = executor._session.decode
    with monkeypatch.context() as patch:
        patch.setattr(executor._session, "decode", lambda batch: next(codes) or decode(batch))
        with pytest.raises(OutOfMemory):
            executor.execute(plan)
    result = executor.execute(plan)
    expected = open_tiny().execute(plan)
    assert close(result.logits, expected.logits.copy())
    assert close(result.hidden, expected.hidden)


def test_a_closed_executor_refuses(open_tiny):
    executor = open_tiny()
    executor.close()
    with pytest.raises(EngineError):
        executor.execute(StepPlan((Row(0, [1], 0, 1),)))
