"""The four ways in which people load a server, as data: who asks what, how many at once, and what begins alike."""

from __future__ import annotations

from dataclasses import dataclass

from publican.bench import texts

NAMES = ("single", "crowd", "tavern", "swipe")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One person's turns, one after the other.

    Attributes:
        card: what every prompt of it begins with.
        messages: what is asked, turn by turn.
        remembers: whether a turn's prompt holds the turns before it. If not, and the messages are the same, it is the same
            prompt again and again: somebody who swipes.
    """

    card: str
    messages: tuple[str, ...]
    remembers: bool = True


@dataclass(frozen=True, slots=True)
class Workload:
    """Attributes:
    conversations: begun in this order.
    num_at_once: how many of them are held at the same time.
    num_uncounted: so many first turns of each conversation only prepare what is measured.
    """

    name: str
    conversations: tuple[Conversation, ...]
    num_at_once: int
    num_uncounted: int = 0

    @property
    def num_requests(self) -> int:
        return sum(len(conversation.messages) for conversation in self.conversations)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work. `prompt_tokens` is about what the first prompt of a conversation has."""

    num_users: int = 8
    num_turns: int = 2
    num_singles: int = 4
    num_swipes: int = 8
    prompt_tokens: int = 440

    def num_requests(self, name: str) -> int:
        """How many requests workload `name` makes."""
        return {"single": self.num_singles, "swipe": 1 + self.num_swipes}.get(name, self.num_users * self.num_turns)


def make_workload(name: str, sizes: Sizes, seed: int) -> Workload:
    """One of `NAMES`. The same seed gives the same words; another one has nothing in common with them."""
    key = f"{seed} {name}"
    match name:
        case "single":  # one user, and nobody else: each prompt is new, one after another
            return Workload(name, _strangers(key, sizes.num_singles, 1, sizes.prompt_tokens), num_at_once=1)
        case "crowd":  # everybody at once, with nothing in common
            users = _strangers(key, sizes.num_users, sizes.num_turns, sizes.prompt_tokens)
            return Workload(name, users, sizes.num_users)
        case "tavern":  # everybody at once, talking to the same character
            card = texts.card(key, sizes.prompt_tokens)
            users = tuple(Conversation(card, _messages(key, i, sizes.num_turns)) for i in range(sizes.num_users))
            return Workload(name, users, sizes.num_users)
        case "swipe":  # one user who is not content with the answer, again and again
            messages = _messages(key, 0, 1) * (1 + sizes.num_swipes)
            swiping = Conversation(texts.card(key, sizes.prompt_tokens), messages, remembers=False)
            return Workload(name, (swiping,), num_at_once=1, num_uncounted=1)
    raise ValueError(f"There is no workload {name!r}; there are {', '.join(NAMES)}.")


def _strangers(key: str, num_users: int, num_turns: int, prompt_tokens: int) -> tuple[Conversation, ...]:
    return tuple(
        Conversation(texts.card(f"{key} {i}", prompt_tokens, index=i), _messages(key, i, num_turns)) for i in range(num_users)
    )


def _messages(key: str, user: int, num_turns: int) -> tuple[str, ...]:
    return tuple(texts.message(f"{key} {user} {turn}") for turn in range(num_turns))
