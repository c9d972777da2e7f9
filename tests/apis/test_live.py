"""What is remembered of answers that are being made, and how much of it."""

from __future__ import annotations

from publican.apis.live import MAX_KEPT, Live
from publican.core.errors import EngineError
from publican.core.events import ChoiceFinished, Delta, Failed, Finished, FinishReason, TokenOutput, Usage
from publican.core.ids import RequestId, TokenId


def test_what_was_said_and_how_it_ended() -> None:
    live = Live()
    said = live.watch("me", "K", RequestId("r1"))
    probable = TokenOutput(TokenId(2), b"b", -0.5)
    for event in (
        Delta(0, "a", (TokenOutput(TokenId(1)),)),
        Delta(0, "b", (probable,)),
        Delta(1, "another choice"),
        ChoiceFinished(0, FinishReason.STOP, 7),
        Finished(Usage(3, 2)),
    ):
        said.saw(event)
    assert (said.text, said.tokens, said.ended) == ("ab", [("b", (probable,))], True)
    assert said.finished is not None
    assert said.usage is not None
    assert live.find("me", "K") is said
    assert live.find("you", "K") is None


def test_an_answer_that_broke_off_has_no_numbers() -> None:
    said = Live().watch("me", "K", RequestId("r1"))
    said.saw(Failed(EngineError("It broke.")))
    assert said.ended
    assert said.usage is None


def test_the_newest_of_a_name_counts_and_the_oldest_names_are_forgotten() -> None:
    live = Live()
    live.watch("me", "K0", RequestId("r"))
    newest = live.watch("me", "K0", RequestId("s"))
    assert live.of("me") == [newest]
    newest.ended = True
    for at in range(1, MAX_KEPT + 1):
        live.watch("you", f"K{at}", RequestId(f"r{at}"))
    assert live.of("me") == []
    assert len(live.of("you")) == MAX_KEPT
    assert live.num_begun == MAX_KEPT + 2


def test_an_answer_that_is_being_made_is_never_forgotten() -> None:
    """Whoever asks for much must not take from another the way to end what runs."""
    live = Live()
    running = live.watch("me", "K", RequestId("r"))
    others = [live.watch("you", f"K{at}", RequestId(f"r{at}")) for at in range(2 * MAX_KEPT)]
    assert live.find("me", "K") is running
    for other in others:
        other.ended = True
    live.watch("you", "last", RequestId("last"))
    assert live.find("me", "K") is running
    assert len(live.of("you")) == MAX_KEPT - 1


def test_text_that_comes_before_its_token_stands_with_it() -> None:
    said = Live().watch("me", "K", RequestId("r"))
    token = TokenOutput(TokenId(1), b" hi\n", -0.5)
    for event in (Delta(0, " hi"), Delta(0, "\n", (token,))):
        said.saw(event)
    assert said.tokens == [(" hi\n", (token,))]
