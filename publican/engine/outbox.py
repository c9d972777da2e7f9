"""`Outbox`: turns what was sampled into the events that a caller sees. Engine thread only.

It decides what a token means for its sequence (text, an end, nothing) and leaves slots, memory and rows alone.
"""

from __future__ import annotations

import time

from publican.core.errors import PublicanError
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Started,
    TokenOutput,
    TopLogprob,
    Usage,
)
from publican.core.ids import RequestId
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.pipeline import Choice
from publican.engine.sequence import Group, Sequence


class Outbox:
    """Collects the events of one step.

    Args:
        vocabulary: gives the pieces of tokens, and which of them end an answer.
        context_len: a sequence that has this many tokens is full.
    """

    def __init__(self, vocabulary: Vocabulary, context_len: int) -> None:
        self._vocabulary = vocabulary
        self._context_len = context_len
        self._events: list[tuple[RequestId, Event]] = []

    def token(self, sequence: Sequence, choice: Choice) -> FinishReason | None:
        """A token was chosen for `sequence`: append it, send what text it releases; returns why this ends it, if it does."""
        group = sequence.group
        if not group.first_token_s:
            self.started(group)
        sequence.tokens.append(choice.token)
        stopping = sequence.job.stopping
        output = self.output(choice, with_piece=sequence.job.wanted.logprobs is not None)
        released = sequence.text.push(output)
        if released.text or released.tokens:
            self._events.append((group.job.id, Delta(sequence.index, released.text, released.tokens)))
        if released.stop is not None:
            sequence.stopped_by = released.stop
            return FinishReason.STOP
        ends = choice.token in self._vocabulary.end and not stopping.ignore_eos
        if ends or choice.token in stopping.token_ids:
            sequence.stopped_by = choice.token
            return FinishReason.STOP
        if sequence.num_generated == stopping.max_tokens or len(sequence.tokens) >= self._context_len:
            return FinishReason.LENGTH
        return None

    def output(self, choice: Choice, with_piece: bool = True) -> TokenOutput:
        if not with_piece:
            return TokenOutput(choice.token)
        pieces = self._vocabulary.pieces
        top = tuple(TopLogprob(id, pieces[id], logprob) for id, logprob in choice.top)
        return TokenOutput(choice.token, pieces[choice.token], choice.logprob, top)

    def started(self, group: Group) -> None:
        """The prompt of `group` is computed; the first token comes next."""
        group.first_token_s = time.perf_counter()
        prompt = tuple(group.prompt_outputs or ())
        self._events.append((group.job.id, Started(len(group.job.tokens), prompt=prompt)))

    def ended(self, sequence: Sequence, reason: FinishReason) -> None:
        """`sequence` has ended, after its last token; ends the job too if it was the last of its choices."""
        group = sequence.group
        if not group.first_token_s:
            self.started(group)
        if sequence.stopped_by is None or isinstance(sequence.stopped_by, int):
            held = sequence.text.flush()
            if held.text or held.tokens:
                self._events.append((group.job.id, Delta(sequence.index, held.text, held.tokens)))
        self._events.append((group.job.id, ChoiceFinished(sequence.index, reason, sequence.stopped_by)))
        if group.num_unfinished == 0:
            self._events.append((group.job.id, Finished(_usage(group))))

    def failed(self, id: RequestId, error: PublicanError) -> None:
        self._events.append((id, Failed(error)))

    def forget(self, id: RequestId) -> None:
        """Nobody listens to this job any more."""
        self._events = [(owner, event) for owner, event in self._events if owner != id]

    def drain(self) -> tuple[tuple[RequestId, Event], ...]:
        events, self._events = tuple(self._events), []
        return events

    def __len__(self) -> int:
        return len(self._events)


def _usage(group: Group) -> Usage:
    first_planned = group.first_planned_s or group.first_token_s
    return Usage(
        num_prompt_tokens=len(group.job.tokens),
        num_completion_tokens=sum(s.num_generated for s in group.sequences),
        num_cached_tokens=group.num_cached_tokens,
        queue_s=first_planned - group.arrived_s,
        prefill_s=group.first_token_s - first_planned,
        decode_s=time.perf_counter() - group.first_token_s,
    )
