"""Which drafter an engine has. Engine thread only."""

from __future__ import annotations

from publican.core.executor import Cells, Executor
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig
from publican.engine.drafting.drafter import Drafter
from publican.engine.drafting.lookup import Lookup
from publican.engine.drafting.model import ModelDrafter


def can_forget(executor: Executor) -> bool:
    """Whether guesses that did not come true can be taken back."""
    memory = executor.info.memory
    return not isinstance(memory, Cells) or memory.can_rewind


def make_drafter(draft: Executor | None, vocabulary: Vocabulary, budget: BudgetConfig, max_guessing: int) -> Drafter | None:
    """The draft model's drafter if there is one, else one that looks into the text; None where nothing is to be guessed.

    Args:
        draft: of no use, and closed at once, where it cannot forget or nothing is to be guessed.
        max_guessing: see `Engine`.
    """
    if draft is not None and (max_guessing == 0 or not can_forget(draft)):
        draft.close()
        draft = None
    if max_guessing == 0:
        return None
    return Lookup(max_guessing - 1) if draft is None else ModelDrafter(draft, vocabulary, budget)
