import pytest

from publican.core.errors import PlanError
from publican.core.executor import Cells, ExecutorInfo
from publican.core.step import CopyPage, Extend, Free, Row, Share, StepPlan, Truncate
from publican.executors.llama.slots import SlotLengths


def slots(can_rewind: bool = True) -> SlotLengths:
    """Slot 0 holds ten tokens, slot 1 three, the other two none."""
    info = ExecutorInfo("llama", "none", 100, 32, 4, 16, 4, Cells(64, can_rewind))
    made = SlotLengths(info)
    plan = StepPlan((Row(0, [1] * 10, 0, 1), Row(1, [1] * 3, 0, 1)))
    made.settle(made.check(plan))
    made.computed(plan)
    return made


GOOD = [
    StepPlan(()),
    StepPlan((Row(0, [1], 10, 1), Row(1, [2], 3, 0))),
    StepPlan((Row(2, [1] * 4, 4, 4),), (Share(0, 2, 4),)),
    StepPlan((Row(0, [1], 5, 1),), (Truncate(0, 5),)),
    StepPlan((Row(0, [1], 10, 1),), (Truncate(0, 99),)),
    StepPlan((Row(0, [1], 0, 1),), (Free(0), Free(3))),
    StepPlan((), (Share(0, 2, 10), Free(0), Share(2, 0, 1))),
]

BAD = {
    "a slot out of range": StepPlan((Row(4, [1], 0, 1),)),
    "a negative slot": StepPlan((Row(-1, [1], 10, 1),)),
    "a slot that is no number": StepPlan((Row(None, [1], 0, 1),)),
    "a gap": StepPlan((Row(0, [1], 11, 1),)),
    "a position twice": StepPlan((Row(0, [1], 9, 1),)),
    "a slot twice": StepPlan((Row(0, [1], 10, 1), Row(0, [1], 10, 1))),
    "a slot in two rows, one after the other": StepPlan((Row(0, [1], 10, 1), Row(0, [1], 11, 1))),
    "an empty slot read": StepPlan((Row(2, [1], 5, 1),)),
    "no tokens": StepPlan((Row(0, [], 10, 0),)),
    "no list": StepPlan((Row(0, None, 10, 0),)),
    "too many tokens": StepPlan((Row(0, [1] * 9, 10, 1), Row(1, [1] * 8, 3, 1))),
    "beyond the context": StepPlan((Row(2, [1] * 16, 17, 1),)),
    "too many logits": StepPlan((Row(0, [1] * 5, 10, 5),)),
    "more logits than tokens": StepPlan((Row(0, [1], 10, 2),)),
    "fewer than no logits": StepPlan((Row(0, [1, 1, 1], 10, -1),)),
    "more hidden states than tokens": StepPlan((Row(0, [1], 10, 1, 2),)),
    "sharing to a full slot": StepPlan((), (Share(0, 1, 2),)),
    "sharing with oneself": StepPlan((), (Share(2, 2, 1),)),
    "sharing more than there is": StepPlan((), (Share(1, 2, 4),)),
    "sharing nothing": StepPlan((), (Share(1, 2, 0),)),
    "sharing from a freed slot": StepPlan((), (Free(0), Share(0, 2, 4))),
    "a negative cut": StepPlan((), (Truncate(0, -1),)),
    "a cut out of range": StepPlan((), (Truncate(9, 1),)),
    "freeing out of range": StepPlan((), (Free(4),)),
    "pages": StepPlan((), (Extend(0, (1,)),)),
    "a page copy": StepPlan((), (CopyPage(0, 1),)),
}


@pytest.mark.parametrize("plan", GOOD, ids=str)
def test_a_good_plan_passes(plan):
    slots().check(plan)


@pytest.mark.parametrize("plan", BAD.values(), ids=BAD.keys())
def test_a_bad_plan_is_refused_and_changes_nothing(plan):
    made = slots()
    with pytest.raises(PlanError):
        made.check(plan)
    made.check(GOOD[1])


def test_checking_alone_changes_nothing():
    made = slots()
    made.check(StepPlan((Row(0, [1], 0, 1),), (Free(0),)))
    made.check(GOOD[1])


def test_a_recurrent_model_shares_and_forgets_whole_sequences_only():
    made = slots(can_rewind=False)
    made.check(StepPlan((Row(0, [1], 0, 1),), (Share(0, 2, 10), Truncate(0, 0), Truncate(1, 3), Free(1))))
    for op in (Truncate(0, 9), Share(0, 2, 9)):
        with pytest.raises(PlanError):
            made.check(StepPlan((), (op,)))
