"""`Sequence`: one choice of one job on its way through the engine, and `Group`: the job's choices together.

The only mutable things there are per request. Engine thread only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from publican.core.events import TokenOutput
from publican.core.ids import SlotId, TokenId
from publican.engine.drafting.drafter import Guesses
from publican.engine.grammar.matcher import Matcher
from publican.engine.job import Job
from publican.engine.text import TextStream

if TYPE_CHECKING:
    from publican.engine.search.search import Search  # it follows sequences, and so knows them; they only point at it


@dataclass(slots=True, eq=False)
class Group:
    """The sequences of one job. `arrival` orders jobs for as long as the engine runs.

    Attributes:
        sequences: the choices, and where a search is on, whatever it follows at the moment.
        search: chooses tokens for all of them together, instead of the sampler for each.
        num_tries: answers that are tried, of which `job.wanted.num_choices` are given (best_of); 0 gives all as they come.
        prompt_outputs: collects the prompt's log probabilities where they are wanted, until the prompt is through.
    """

    job: Job
    arrival: int
    arrived_s: float
    sequences: list[Sequence] = field(default_factory=list)
    search: Search | None = None
    num_tries: int = 0
    first_planned_s: float = 0.0
    first_token_s: float = 0.0
    num_cached_tokens: int = 0
    prompt_outputs: list[TokenOutput] | None = None

    @property
    def num_unfinished(self) -> int:
        return sum(not s.finished for s in self.sequences)


@dataclass(slots=True, eq=False)
class Sequence:
    """`num_computed` chases `len(tokens)`; there is no prefill phase and no decode phase.

        tokens   0 ........ num_prompt ....... len(tokens)
        in slot  0 .... num_computed

    `slot` is set while it runs; `row`, its place in the sampler, from its first token until it is finished, so that a
    preempted sequence keeps its sampler's state.

    Attributes:
        peers: all that must be computed in the same step as it, itself among them; empty if it goes its own way.
        shadow: the same answer after the negative prompt; computed beside it, never sampled.
        matcher: where it stands in its grammar.
        heal: bytes that its first token must begin with (token healing); they stood in the prompt.
        banned_at: tokens that were taken back at a position, because a banned string began with them.
        guesses: what the drafter keeps of it, where guesses are wanted and would change nothing but the time.
        draft: guesses that are computed in this very step, behind what is pending.
        skipped: steps in a row that gave it nothing while others got something.
        logprobs: of its tokens, where answers are compared by them.
    """

    group: Group
    index: int
    tokens: list[TokenId]
    text: TextStream
    num_computed: int = 0
    slot: SlotId | None = None
    row: int | None = None
    peers: tuple[Sequence, ...] = ()
    shadow: Sequence | None = None
    matcher: Matcher | None = None
    heal: bytes = b""
    banned_at: dict[int, set[TokenId]] = field(default_factory=dict)
    guesses: Guesses | None = None
    draft: list[TokenId] = field(default_factory=list)
    skipped: int = 0
    logprobs: list[float] = field(default_factory=list)
    stopped_by: str | TokenId | None = None
    finished: bool = False

    @property
    def job(self) -> Job:
        return self.group.job

    @property
    def adapter(self) -> int:
        return self.group.job.adapter

    @property
    def unit(self) -> tuple[Sequence, ...]:
        """What comes, runs and is put back together."""
        return self.peers or (self,)

    @property
    def num_prompt(self) -> int:
        return len(self.group.job.tokens)

    @property
    def num_generated(self) -> int:
        """Of its own tokens; -1 while a healed prompt still lacks its last one."""
        return len(self.tokens) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Tokens that are known and not computed; at least 1 for as long as it is unfinished."""
        return len(self.tokens) - self.num_computed

    @property
    def reads_whole_prompt(self) -> bool:
        """Whether the logits of every prompt position are still wanted, so that nothing may come from the cache."""
        outputs = self.group.prompt_outputs
        return self.index == 0 and outputs is not None and len(outputs) < self.num_prompt
