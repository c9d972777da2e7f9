"""Instruction formats as the 2023 API describes them: two names, a context, and one turn with marks in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

USER, BOT = "<|user|>", "<|bot|>"
USER_MESSAGE, BOT_MESSAGE = "<|user-message|>", "<|bot-message|>"

PLAIN_TURN = f"{USER}\n{USER_MESSAGE}\n{BOT}\n{BOT_MESSAGE}\n"
"""The turn of a format that has none of its own."""


@dataclass(frozen=True, slots=True)
class Instruct:
    """One format.

    Attributes:
        user, bot: what the marks for the two stand for.
        context: what the prompt begins with.
        turn: one exchange, with the four marks above; a backslash and an n are a line break.
    """

    user: str = ""
    bot: str = ""
    context: str = ""
    turn: str = PLAIN_TURN

    @property
    def is_complete(self) -> bool:
        """Whether a turn says where both messages go."""
        return not self.turn or all(mark in self.turn for mark in (USER_MESSAGE, BOT, BOT_MESSAGE))

    @property
    def _halves(self) -> tuple[str, str]:
        """The user's half of a turn, and the bot's, with the names in them."""
        turn = self.turn.replace("\\n", "\n") or PLAIN_TURN
        user, mark, bot = turn.partition(BOT)
        named = (half.replace(USER, self.user.strip()).replace(BOT, self.bot.strip()) for half in (user, mark + bot))
        return next(named), next(named)

    def user_turn(self, text: str) -> str:
        return self._halves[0].replace(USER_MESSAGE, text)

    def bot_turn(self, text: str) -> str:
        return self._halves[1].replace(BOT_MESSAGE, text)

    @property
    def bot_opening(self) -> str:
        """A bot's turn up to where its message begins."""
        return self._halves[1].partition(BOT_MESSAGE)[0]

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """How an answer would go on into somebody's next turn: ours after the user's, the user's after ours."""
        user, bot = self._halves
        after_user = user.partition(USER_MESSAGE)[2] + self.bot.strip()
        after_bot = bot.partition(BOT_MESSAGE)[2] + self.user.strip()
        return tuple(string for string in (after_user.rstrip(" "), after_bot.rstrip(" ")) if string.strip())


INSTRUCTS = {
    "Vicuna-v1.1": Instruct(
        "USER:",
        "ASSISTANT:",
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.\n\n",
        f"{USER} {USER_MESSAGE}\n{BOT} {BOT_MESSAGE}</s>\n",
    ),
    "Alpaca": Instruct(
        "### Instruction:",
        "### Response:",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
        f"{USER}\n{USER_MESSAGE}\n\n{BOT}\n{BOT_MESSAGE}\n\n",
    ),
    "ChatML": Instruct(
        "<|im_start|>user",
        "<|im_start|>assistant",
        "",
        f"{USER}\n{USER_MESSAGE}<|im_end|>\n{BOT}\n{BOT_MESSAGE}<|im_end|>\n",
    ),
}
"""Formats by the names that clients of the time call them. Each is the words its models were trained on."""


def overridden(
    base: Instruct | None, user: str | None, bot: str | None, context: str | None, turn: str | None
) -> Instruct | None:
    """`base` with what a request sets itself; None if there is neither."""
    own = {"user": user, "bot": bot, "context": context, "turn": turn}
    given = {name: value for name, value in own.items() if value is not None}
    return replace(base or Instruct(), **given) if given else base
