"""`Search`: what chooses tokens for a whole group, and what it may use for that. Engine thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from publican.core.executor import Array
from publican.core.ids import TokenId
from publican.engine.outbox import Outbox
from publican.engine.sampling.pipeline import Pipeline
from publican.engine.scheduler import Scheduler
from publican.engine.sequence import Sequence as Running


class Search(Protocol):
    """Follows several sequences of one group, and ends them."""

    @property
    def hidden_wanted(self) -> bool:
        """Whether the final hidden state of every computed token is wanted."""
        ...

    @property
    def reads_prompt(self) -> bool:
        """Whether the prompt must be computed, and may not come from the cache."""
        ...

    @property
    def writes(self) -> bool:
        """Whether tokens follow the prompt. If not, no logits are wanted, and nothing is kept for others to begin with."""
        ...

    def saw(self, sequence: Running, states: Array) -> None:
        """Hidden states of tokens of `sequence` that were just computed, from its `num_computed` on; to be copied."""
        ...

    def advance(self, logits: Array, rows: Mapping[Running, int]) -> None:
        """All that is followed was computed: choose what comes next, or end. `rows` is the row of logits of each."""
        ...

    def stop(self) -> None:
        """Somebody asked for an early end: give what there is."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What belongs to the engine and a search works with."""

    scheduler: Scheduler
    pipeline: Pipeline
    outbox: Outbox
    context_len: int

    def ends(self, sequence: Running) -> frozenset[TokenId]:
        """The tokens that end an answer."""
        stopping = sequence.job.stopping
        own: frozenset[TokenId] = frozenset() if stopping.ignore_eos else self.outbox.vocabulary.end
        return own | frozenset(stopping.token_ids)

    def room(self, sequence: Running) -> int:
        """How many more tokens an answer may get."""
        room = self.context_len - len(sequence.tokens)
        wanted = sequence.job.stopping.max_tokens
        return room if wanted is None else min(room, wanted - sequence.num_generated)

    def row(self, sequence: Running) -> int:
        """The sampler's row of `sequence`, made if it has none."""
        if sequence.row is None:
            params = sequence.job.sampling.for_choice(sequence.index)
            stop_ids = sequence.job.stopping.token_ids
            sequence.row = self.pipeline.add(params, sequence.tokens, None, sequence.num_prompt, stop_ids)
        return sequence.row

    def drop(self, sequence: Running) -> None:
        """`sequence` is followed no further."""
        sequence.peers = ()
        self.scheduler.finish(sequence)
        if sequence.row is not None:
            self.pipeline.remove(sequence.row)
            sequence.row = None
        sequence.finished = True
        sequence.group.sequences.remove(sequence)

    def branch(self, parent: Running, tokens: Sequence[TokenId]) -> Running:
        """Another sequence that stands where `parent` stands, and has `tokens`: the parent's computed ones and one more."""
        child = Running(parent.group, parent.index, list(tokens), parent.text)
        if parent.row is not None:
            child.row = self.pipeline.fork(parent.row, child.tokens)
        parent.group.sequences.append(child)
        if parent.slot is None or not self.scheduler.fork(parent, child):
            self.scheduler.submit(child)
        return child

    def follow_together(self, sequences: Sequence[Running]) -> None:
        """These are computed in one step from now on. If one of them found no room, all wait until there is some."""
        for sequence in sequences:
            sequence.peers = tuple(sequences) if len(sequences) > 1 else ()
        if any(sequence.slot is None for sequence in sequences):
            self.scheduler.put_back(sequences)
