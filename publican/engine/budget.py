"""How many prompt tokens a step may take while others wait for their next token.

A step's time is nearly a constant plus so much for every prompt token. The slope is measured as the engine runs, so that
the pause a newcomer causes for the running streams stays near a target, on a CPU and on an H100 alike.
"""

from __future__ import annotations

from dataclasses import dataclass

_NEWEST_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Attributes:
    target_s: how much longer a step may take for prompts while sequences are decoding.
    min_tokens: prompts get this many tokens a step however slow they are, so that they end.
    max_tokens: the most tokens in one step, decoding ones included.
    """

    target_s: float = 0.06
    min_tokens: int = 32
    max_tokens: int = 512

    def within(self, max_tokens: int) -> BudgetConfig:
        """The same for an executor that takes `max_tokens` in a step."""
        most = min(self.max_tokens, max_tokens)
        return BudgetConfig(self.target_s, min(self.min_tokens, most), most)


class StepBudget:
    """Learns what prompt tokens cost and divides the step accordingly. Engine thread only."""

    def __init__(self, config: BudgetConfig) -> None:
        self.config = config
        self._token_s: float | None = None

    def num_prompt_tokens(self, num_decoding: int) -> int:
        """How many prompt tokens the next step may take beside `num_decoding` decoding sequences."""
        room = max(0, self.config.max_tokens - num_decoding)
        if num_decoding == 0 or self._token_s is None:
            return room if num_decoding == 0 else min(room, self.config.min_tokens)
        return min(room, max(self.config.min_tokens, int(self.config.target_s / self._token_s)))

    def learn(self, num_prompt_tokens: int, step_s: float) -> None:
        """A step with so many prompt tokens took so long. The decoding part is left in: it errs to the careful side."""
        if num_prompt_tokens < self.config.min_tokens:
            return
        measured = step_s / num_prompt_tokens
        if self._token_s is None:
            self._token_s = measured
        else:
            self._token_s += _NEWEST_WEIGHT * (measured - self._token_s)
