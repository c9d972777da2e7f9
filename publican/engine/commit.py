"""`Commit`: what follows from a chosen token, for one sequence: text, grammar, banned strings, an end. Engine thread only."""

from __future__ import annotations

from collections.abc import Callable

from publican.core.errors import PublicanError, Unsupported
from publican.core.events import FinishReason
from publican.engine.outbox import Outbox, Said
from publican.engine.sampling.pipeline import Choice, Pipeline
from publican.engine.scheduler import Scheduler
from publican.engine.sequence import Group, Sequence

_MAX_TRIES = 64
"""A banned string is let pass when so many ways around it, from the same place, led into one again."""
_MAX_FORCED = 15


class Commit:
    """Applies choices.

    Args:
        end: called when a sequence has ended.
        fail: called when its whole request cannot go on.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        pipeline: Pipeline,
        outbox: Outbox,
        end: Callable[[Sequence, FinishReason], None],
        fail: Callable[[Group, PublicanError], None],
    ) -> None:
        self._scheduler = scheduler
        self._pipeline = pipeline
        self._outbox = outbox
        self._end = end
        self._fail = fail

    def chosen(self, sequence: Sequence, choice: Choice) -> None:
        """`choice` is the next token of `sequence`."""
        reason = self._say(sequence, choice)
        matcher = sequence.matcher
        if matcher is not None:
            if matcher.error:
                self._fail(
                    sequence.group, Unsupported(f"The grammar became too hard to follow ({matcher.error:.200}); simplify it.")
                )
                return
            if reason is None:
                reason = self._say_forced(sequence)
        if reason is not None:
            self._end(sequence, reason)

    def _say(self, sequence: Sequence, choice: Choice) -> FinishReason | None:
        sequence.tokens.append(choice.token)
        if sequence.shadow is not None:
            sequence.shadow.tokens.append(choice.token)
        if sequence.matcher is not None:
            sequence.matcher.accept(choice.token)
        if sequence.group.num_tries and choice.logprob is not None:
            sequence.logprobs.append(choice.logprob)
        said = self._outbox.say(sequence, choice)
        if said.num_banned:
            said = self._around(sequence, said.num_banned)
        return said.reason

    def _say_forced(self, sequence: Sequence) -> FinishReason | None:
        """Whatever the grammar leaves no choice about is said without asking the model (jump-ahead)."""
        assert sequence.matcher is not None
        if sequence.job.wanted.logprobs is None and not sequence.group.num_tries:
            num_tokens = len(sequence.tokens)
            for token in sequence.matcher.forced()[:_MAX_FORCED]:
                reason = self._say(sequence, Choice(token))
                num_tokens += 1
                if reason is not None or len(sequence.tokens) < num_tokens:  # it ended, or had to go back
                    return reason
        return FinishReason.STOP if sequence.matcher.ended else None

    def _around(self, sequence: Sequence, num_tokens: int) -> Said:
        """The last tokens hold a banned string: go back to where it began and bar that way (exllamav2's scheme)."""
        position = len(sequence.tokens) - num_tokens
        tried, token = sequence.banned_at.setdefault(position, set()), sequence.tokens[position]
        if len(tried) >= _MAX_TRIES or token in tried:  # one that is barred comes again where nothing else may stand there
            return self._outbox.say_banned(sequence)
        tried.add(token)
        sequence.banned_at = {at: tokens for at, tokens in sequence.banned_at.items() if at <= position}
        sequence.text.take_back(num_tokens)
        assert sequence.row is not None
        self._pipeline.rewind(sequence.row, position)
        if sequence.matcher is not None:
            sequence.matcher.rewind(num_tokens)
        del sequence.logprobs[len(sequence.logprobs) - min(num_tokens, len(sequence.logprobs)) :]
        for rewound in filter(None, (sequence, sequence.shadow)):
            del rewound.tokens[len(rewound.tokens) - num_tokens :]
            self._scheduler.rewind(rewound, len(rewound.tokens))
        return Said()
