"""`Roster`: who is here, from a job's arrival to its one last event. Engine thread only; knows nothing of steps.

What goes wrong inside in work that is one job's own (preparing it, saying its tokens, ending it) is that job's failure: it
gives back all it held, and the others go on. Then `check` says whether the books still balance; if not, the engine ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from publican.core.errors import EngineError, PublicanError
from publican.core.events import FinishReason
from publican.core.ids import RequestId
from publican.engine.grammar.compiler import Compiler
from publican.engine.grammar.matcher import Matcher
from publican.engine.grammar.source import is_constrained
from publican.engine.job import Job
from publican.engine.prepare import Preparer, is_contrastive, is_search
from publican.engine.search.beams import BeamSearch
from publican.engine.search.contrastive import ContrastiveSearch
from publican.engine.search.pooled import PooledPrompt
from publican.engine.search.search import Tools
from publican.engine.sequence import Group, Sequence

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compiled:
    """The grammar of a job is compiled, or why it cannot be. The engine's compiler sends this to its inbox."""

    job: Job
    result: Matcher | PublicanError


class Roster:
    """The jobs of one engine.

    Args:
        tools: what belongs to the engine; jobs come into its scheduler, and leave it and its pipeline.
        say: takes what is compiled, on the compiler's thread; `compiled` is to be called with it on the engine's.

    Attributes:
        groups: those that run or wait for room.
    """

    def __init__(self, preparer: Preparer, compiler: Compiler, tools: Tools, say: Callable[[Compiled], None]) -> None:
        self.groups: dict[RequestId, Group] = {}
        self._compiling: set[RequestId] = set()
        self._preparer = preparer
        self._compiler = compiler
        self._tools = tools
        self._say = say
        self._scheduler, self._pipeline, self._outbox = tools.scheduler, tools.pipeline, tools.outbox
        self._num_arrived = 0
        self._is_suspect = False

    @property
    def is_compiling(self) -> bool:
        """Whether a job waits for its grammar."""
        return bool(self._compiling)

    # --- coming

    def submit(self, job: Job) -> None:
        """Begin `job`, or fail it."""
        try:
            self._preparer.check(job)
            if is_constrained(job.sampling):
                self._compiling.add(job.id)
                self._compiler.compile_later(job.sampling, lambda result: self._say(Compiled(job, result)))
            else:
                self._begin(job, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's
            self.broke(job.id, error)

    def compiled(self, job: Job, result: Matcher | PublicanError) -> None:
        """The grammar that `job` waited for is there, or will never be."""
        if job.id not in self._compiling:
            return  # aborted meanwhile
        self._compiling.remove(job.id)
        try:
            if isinstance(result, PublicanError):
                raise result
            self._begin(job, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's
            self.broke(job.id, error)

    def _begin(self, job: Job, matcher: Matcher | None) -> None:
        group = self._preparer.group(job, self._num_arrived, matcher)
        self._num_arrived += 1
        if job.pooling is not None:
            group.search = PooledPrompt(group, self._tools, job.pooling)
        elif is_search(job.sampling):
            group.search = (ContrastiveSearch if is_contrastive(job.sampling) else BeamSearch)(group, self._tools)
        self.groups[job.id] = group
        for sequence in group.sequences:
            for member in sequence.unit:
                self._scheduler.submit(member)
        if job.stopping.max_tokens == 0 and group.prompt_outputs is None and job.pooling is None:
            for sequence in list(group.sequences):
                self.finish(sequence, FinishReason.LENGTH)

    # --- going

    def abort(self, id: RequestId, keep: bool) -> None:
        """See `job.Abort`."""
        if id in self._compiling:
            self._compiling.remove(id)
            if keep:
                self._outbox.failed(id, EngineError("The request was stopped before it began."))
            return
        group = self.groups.get(id)
        if group is None:
            return
        try:
            self._stop(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's
            self.broke(id, error)
        if not keep:
            self._outbox.forget(id)

    def _stop(self, group: Group) -> None:
        if group.search is not None:
            group.search.stop()
            self.left(group)
            return
        for sequence in group.sequences:
            if not sequence.finished:
                self.finish(sequence, FinishReason.ABORTED)

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """An answer has ended, after its last token."""
        group = sequence.group
        for member in sequence.unit:
            self._scheduler.finish(member)
        self._release(sequence)
        self._outbox.ended(sequence, reason)
        if group.num_unfinished == 0:
            self._outbox.finished(group, sum(max(0, s.num_generated) for s in group.sequences))
            self.left(group)

    def left(self, group: Group) -> None:
        """All of `group` has ended."""
        del self.groups[group.job.id]

    def _release(self, sequence: Sequence) -> None:
        if sequence.row is not None:
            self._pipeline.remove(sequence.row)
            sequence.row = None
        sequence.finished = True

    # --- failing

    def fail(self, group: Group, error: PublicanError) -> None:
        """`group` cannot go on, however far it came."""
        self.groups.pop(group.job.id, None)
        for sequence in group.sequences:
            if not sequence.finished:
                for member in sequence.unit:
                    self._scheduler.drop(member)
                self._release(sequence)
        self._outbox.failed(group.job.id, error)

    def fail_all(self, error: PublicanError) -> None:
        """The engine ends: nothing is given back, and everybody hears of it."""
        for id in (*self.groups, *self._compiling):
            self._outbox.failed(id, error)
        self.groups.clear()
        self._compiling.clear()

    def broke(self, id: RequestId, error: BaseException) -> None:
        """`error` came up in work that was job `id`'s own: it fails, and nobody else does."""
        self._compiling.discard(id)
        if isinstance(error, PublicanError):
            public = error
        else:
            log.error("request %s broke", id, exc_info=error)
            public = EngineError(f"Something broke inside the model's process over this request; the log has it under {id}.")
        group = self.groups.get(id)
        if group is None:
            self._outbox.failed(id, public)
        else:
            self._is_suspect = True
            self.fail(group, public)

    # --- the books

    def check_if_suspect(self) -> None:
        """`check`, if something broke since. To be called where every sequence knows its next token: between steps."""
        if self._is_suspect:
            self._is_suspect = False
            self.check()

    def check(self) -> None:
        """Raises AssertionError if the jobs, the scheduler's books and the sampler's rows disagree."""
        self._scheduler.check()
        alive = [s for group in self.groups.values() for s in group.sequences if not s.finished]
        known = {member for sequence in alive for member in sequence.unit}
        assert known == {*self._scheduler.waiting, *self._scheduler.running}, "the scheduler has others than the jobs"
        self._pipeline.check([sequence.row for sequence in alive if sequence.row is not None])
