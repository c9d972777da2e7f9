"""`Outbox`: turns what was chosen into the events that a caller sees. Engine thread only.

It says what a token means for an answer (text, an end, nothing) and leaves slots, memory and rows alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import NamedTuple

from publican.core.errors import PublicanError
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Embedded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Started,
    TokenOutput,
    TopLogprob,
    Usage,
)
from publican.core.ids import RequestId, TokenId
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.pipeline import Choice
from publican.engine.sequence import Group, Sequence
from publican.engine.text import Released, TextStream


class Said(NamedTuple):
    """What a token did: it ended the answer, or it completed a banned string that begins so many tokens before the end."""

    reason: FinishReason | None = None
    num_banned: int = 0


class Outbox:
    """Collects the events of one step.

    Args:
        vocabulary: gives the pieces of tokens, and which of them end an answer.
        context_len: a sequence that has this many tokens is full.
    """

    def __init__(self, vocabulary: Vocabulary, context_len: int) -> None:
        self.vocabulary = vocabulary
        self._context_len = context_len
        self._events: list[tuple[RequestId, Event]] = []
        self._tries: dict[Group, dict[Sequence, list[Event]]] = {}

    # --- tokens

    def say(self, sequence: Sequence, choice: Choice) -> Said:
        """A token was chosen, and is the last of `sequence.tokens`: send what text it releases."""
        if not sequence.group.first_token_s:
            self.started(sequence.group)
        released = sequence.text.push(self.output(choice, sequence.job.wanted.logprobs is not None))
        if released.num_banned:
            return Said(num_banned=released.num_banned)
        return self._released(sequence, released)

    def say_banned(self, sequence: Sequence) -> Said:
        """There is no way around the banned string: let it be said."""
        return self._released(sequence, sequence.text.let_pass())

    def _released(self, sequence: Sequence, released: Released) -> Said:
        self._text(sequence, released)
        token, stopping = sequence.tokens[-1], sequence.job.stopping
        if released.stop is not None:
            sequence.stopped_by = released.stop
            return Said(FinishReason.STOP)
        ends = token in self.vocabulary.end and not stopping.ignore_eos
        if ends or token in stopping.token_ids:
            sequence.stopped_by = token
            return Said(FinishReason.STOP)
        longest = max(len(sequence.tokens), len(sequence.shadow.tokens) if sequence.shadow else 0)
        if sequence.num_generated == stopping.max_tokens or longest >= self._context_len:
            return Said(FinishReason.LENGTH)
        return Said()

    def _text(self, sequence: Sequence, released: Released) -> None:
        if released.text or released.tokens:
            self._put(sequence, Delta(sequence.index, released.text, released.tokens))

    def output(self, choice: Choice, with_piece: bool = True) -> TokenOutput:
        if not with_piece:
            return TokenOutput(choice.token)
        pieces = self.vocabulary.pieces
        top = tuple(TopLogprob(id, pieces[id], logprob) for id, logprob in choice.top)
        return TokenOutput(choice.token, pieces[choice.token], choice.logprob, top)

    # --- beginnings and ends

    def started(self, group: Group) -> None:
        """The prompt of `group` is computed; the first token comes next."""
        group.first_token_s = time.perf_counter()
        prompt = tuple(group.prompt_outputs or ())
        self._events.append((group.job.id, Started(len(group.job.tokens), prompt=prompt)))

    def ended(self, sequence: Sequence, reason: FinishReason) -> None:
        """`sequence` has ended, after its last token."""
        if not sequence.group.first_token_s:
            self.started(sequence.group)
        if not isinstance(sequence.stopped_by, str):
            self._text(sequence, sequence.text.flush())
        self._put(sequence, ChoiceFinished(sequence.index, reason, sequence.stopped_by))

    def whole_choice(
        self, group: Group, index: int, tokens: Seq[TokenId], reason: FinishReason, stopped_by: TokenId | None
    ) -> None:
        """A choice that was found as a whole."""
        if not group.first_token_s:
            self.started(group)
        stopping, wanted = group.job.stopping, group.job.wanted
        text = TextStream(self.vocabulary, stopping.strings, stopping.include_string, wanted.special_tokens)
        sequence = Sequence(group, index, [], text, stopped_by=stopped_by)
        for token in tokens:
            released = text.push(TokenOutput(token))
            self._text(sequence, released)
            if released.stop is not None:
                sequence.stopped_by, reason = released.stop, FinishReason.STOP
                break
        self.ended(sequence, reason)

    def finished(self, group: Group, num_completion_tokens: int) -> None:
        """All choices of `group` have ended."""
        if group in self._tries:
            self._give_best(group, self._tries.pop(group))
        first_planned = group.first_planned_s or group.first_token_s
        usage = Usage(
            num_prompt_tokens=len(group.job.tokens),
            num_completion_tokens=num_completion_tokens,
            num_cached_tokens=group.num_cached_tokens,
            queue_s=first_planned - group.arrived_s,
            prefill_s=group.first_token_s - first_planned,
            decode_s=time.perf_counter() - group.first_token_s,
        )
        self._events.append((group.job.id, Finished(usage)))

    def embedded(self, group: Group, vector: tuple[float, ...]) -> None:
        """The prompt of `group` is computed, and this is what it became; nothing follows."""
        group.first_token_s = time.perf_counter()
        self._events.append((group.job.id, Embedded(vector)))
        self.finished(group, 0)

    def failed(self, id: RequestId, error: PublicanError) -> None:
        self._forget_tries(id)
        self._events.append((id, Failed(error)))

    def forget(self, id: RequestId) -> None:
        """Nobody listens to this job any more."""
        self._events = [(owner, event) for owner, event in self._events if owner != id]
        self._forget_tries(id)

    def _forget_tries(self, id: RequestId) -> None:
        if self._tries:
            self._tries = {group: held for group, held in self._tries.items() if group.job.id != id}

    def drain(self) -> tuple[tuple[RequestId, Event], ...]:
        events, self._events = tuple(self._events), []
        return events

    def __len__(self) -> int:
        return len(self._events)

    # --- best_of

    def _put(self, sequence: Sequence, event: Event) -> None:
        """Send; or, where only the best answers are given, keep until it is known which those are."""
        group = sequence.group
        if group.num_tries:
            self._tries.setdefault(group, {}).setdefault(sequence, []).append(event)
        else:
            self._events.append((group.job.id, event))

    def _give_best(self, group: Group, tries: dict[Sequence, list[Event]]) -> None:
        """The answers with the best mean log probability, best first (vLLM's and TGI's measure)."""
        best = sorted(tries, key=lambda s: (-sum(s.logprobs) / max(1, len(s.logprobs)), s.index))
        for index, sequence in enumerate(best[: group.job.wanted.num_choices]):
            for event in tries[sequence]:
                assert isinstance(event, Delta | ChoiceFinished)
                self._events.append((group.job.id, replace(event, index=index)))
