import pytest

from publican.bench.workloads import NAMES, Sizes, make_workload

SIZES = Sizes(num_users=5, num_turns=3, num_singles=4, num_swipes=6, prompt_tokens=100)


@pytest.mark.parametrize("name", NAMES)
def test_requests_are_counted_before_they_are_written(name):
    assert SIZES.num_requests(name) == make_workload(name, SIZES, 1).num_requests


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_a_workload(name):
    assert make_workload(name, SIZES, 1) == make_workload(name, SIZES, 1)
    assert make_workload(name, SIZES, 1) != make_workload(name, SIZES, 2)


def test_a_crowd_has_nothing_in_common_not_even_the_first_word():
    workload = make_workload("crowd", SIZES, 1)
    cards = [conversation.card for conversation in workload.conversations]
    assert len(cards) == workload.num_at_once == 5
    assert len({card.split()[0] for card in cards}) == 5
    assert all(len(conversation.messages) == 3 for conversation in workload.conversations)


def test_a_tavern_has_one_card_and_different_talk():
    workload = make_workload("tavern", SIZES, 1)
    assert len({conversation.card for conversation in workload.conversations}) == 1
    assert len({conversation.messages for conversation in workload.conversations}) == 5


def test_a_single_user_is_alone_and_never_repeats_a_prompt():
    workload = make_workload("single", SIZES, 1)
    assert workload.num_at_once == 1
    assert len({conversation.card for conversation in workload.conversations}) == 4


def test_a_swipe_is_the_same_prompt_whose_first_answer_does_not_count():
    workload = make_workload("swipe", SIZES, 1)
    (conversation,) = workload.conversations
    assert len(conversation.messages) == 7
    assert len(set(conversation.messages)) == 1
    assert not conversation.remembers
    assert workload.num_uncounted == 1


def test_workloads_of_one_seed_share_no_card():
    cards = [{c.card for c in make_workload(name, SIZES, 1).conversations} for name in NAMES]
    assert len(set.union(*cards)) == sum(map(len, cards))


def test_there_are_no_others():
    with pytest.raises(ValueError, match="stampede"):
        make_workload("stampede", SIZES, 1)
