"""`Engine`: the loop that owns everything about the running requests. One thread, no locks.

    plan, planned = scheduler.plan()      decide
    result = executor.execute(plan)       compute, and meanwhile fill grammar masks
    self._commit(planned, result)         sample, stop, detokenise; then one report goes out

Commands come in by one inbox, from any thread; reports go out by one call per step, on the engine's thread.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

from publican.core.errors import EngineError, OutOfMemory, PublicanError, WorkerDied
from publican.core.events import FinishReason, TokenOutput
from publican.core.executor import Array, Executor, StepResult
from publican.core.ids import RequestId
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig, StepBudget
from publican.engine.commit import Commit
from publican.engine.drafting.choose import can_forget, make_drafter
from publican.engine.grammar.compiler import Compiler
from publican.engine.grammar.matcher import Matcher
from publican.engine.grammar.source import is_constrained
from publican.engine.job import Abort, Close, Command, Job, Report, SendTrace, Submit
from publican.engine.masks import Masks
from publican.engine.memory import cache_for
from publican.engine.outbox import Outbox
from publican.engine.prepare import Preparer, is_contrastive, is_search
from publican.engine.sampling.healing import Healer
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.engine.scheduler import Planned, Scheduler, SchedulerConfig, num_logits_of
from publican.engine.search.beams import BeamSearch
from publican.engine.search.contrastive import ContrastiveSearch
from publican.engine.search.pooled import PooledPrompt
from publican.engine.search.search import Tools
from publican.engine.sequence import Group, Sequence
from publican.engine.stats import Recorder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The grammar of a job is compiled, or why it cannot be. The engine's compiler sends this to its inbox."""

    job: Job
    result: Matcher | PublicanError


class Engine:
    """Runs jobs on an executor.

    Args:
        executor: used by this engine's thread alone, and closed by it.
        vocabulary: the bytes of each token, and which of them end an answer.
        emit: takes what a step gives to the outside; called on the engine's thread, must not block for long.
        max_running: how many sequences are computed together, at most.
        budget: how a step is divided between prompts and answers.
        max_guessing: tokens in a step at most where it has guesses at coming ones among them; 0 for no guesses.
        draft: a smaller model that guesses, with the same tokens; closed with the engine. None: the text itself is looked into.
    """

    def __init__(
        self,
        executor: Executor,
        vocabulary: Vocabulary,
        emit: Callable[[Report], None],
        max_running: int = 32,
        budget: BudgetConfig | None = None,
        max_guessing: int = 0,
        draft: Executor | None = None,
    ) -> None:
        info = executor.info
        self.executor = executor
        self.info = info
        self.inbox: queue.SimpleQueue[Command | _Compiled] = queue.SimpleQueue()
        self._vocabulary = vocabulary
        self._emit = emit
        budget = budget or BudgetConfig()
        if info.is_encoder:  # a text goes into one step, however long it is
            budget = replace(budget, max_tokens=info.max_batch_tokens)
        self._budget = StepBudget(budget.within(info.max_batch_tokens))
        max_running = min(max_running, info.num_slots, info.max_logits, info.max_batch_tokens)
        if not can_forget(executor):
            max_guessing = 0
        self._drafter = make_drafter(draft, vocabulary, budget, max_guessing)
        config = SchedulerConfig(max_running, info.max_logits, max_guessing=max_guessing, whole_prompts=info.is_encoder)
        self.scheduler = Scheduler(config, cache_for(info), self._budget, self._drafter)
        self._pipeline = Pipeline(vocabulary, executor.top)
        self._outbox = Outbox(vocabulary, info.context_len)
        self._commits = Commit(self.scheduler, self._pipeline, self._outbox, self._finish, self._fail_sequence)
        self._tools = Tools(self.scheduler, self._pipeline, self._outbox, info.context_len)
        self._preparer = Preparer(vocabulary, info, max_running, self._drafter)
        self._compiler = Compiler(vocabulary)
        self._masks = Masks()
        self._healer = Healer(vocabulary)
        self._recorder = Recorder()
        self._groups: dict[RequestId, Group] = {}
        self._compiling: set[RequestId] = set()
        self._num_arrived = 0
        self._closing = False
        self._step_began_s = 0.0

    # --- the loop

    def run(self) -> None:
        """Work until told to close. Whatever happens, every job ends in an event."""
        error: PublicanError = WorkerDied("The model was unloaded before this request was finished; try again in a moment.")
        try:
            while not self._closing:
                self.handle_commands(wait=not self._groups)
                if not self._closing:
                    self._step_began_s = time.monotonic()
                    self.step()
                    self._step_began_s = 0.0
        except Exception as caught:
            log.exception("the engine stopped")
            text = str(caught) if isinstance(caught, PublicanError) else "The engine stopped on an internal error; see the log."
            error = EngineError(text)
            raise
        finally:
            try:
                self._fail_all(error)
            finally:
                self._compiler.close()
                self._masks.close()
                self.executor.close()
                if self._drafter is not None:
                    self._drafter.close()

    def step(self) -> bool:
        """One round of the three beats; False if there was nothing to compute."""
        clock = self._recorder.begin_step()
        decided = self.scheduler.plan()
        if decided is None:
            stuck = self.scheduler.stuck
            if stuck is not None:
                self._fail(stuck.group, OutOfMemory("There is not enough memory for this prompt; shorten it, or free memory."))
            self._report()
            return stuck is not None
        plan, planned = decided
        clock.planned(self._drafter.took_s if self._drafter is not None else 0.0)
        self._masks.begin([s.matcher for s, n in planned if s.matcher is not None and n == s.num_pending])
        try:
            result = self.executor.execute(plan)
        except OutOfMemory as error:
            self._masks.wait()
            self._retreat(error)
            self._report()
            return True
        clock.executed()
        self._masks.wait()
        self._commit(planned, result)
        clock.committed()
        self._report()
        num_prompt_tokens = _num_prompt_tokens(planned)
        trace = clock.emitted(len(planned), num_prompt_tokens, len(self.scheduler.waiting))
        self._budget.learn(num_prompt_tokens, trace.execute_ms / 1e3)
        if self._drafter is not None and not num_prompt_tokens:
            self._drafter.timed(plan.num_tokens, (trace.execute_ms + trace.sample_ms) / 1e3)
        return True

    @property
    def step_s(self) -> float:
        """How long the present step of `run` has taken; 0 between steps. Any thread may ask."""
        began_s = self._step_began_s
        return time.monotonic() - began_s if began_s else 0.0

    @property
    def is_compiling(self) -> bool:
        """Whether a job waits for its grammar."""
        return bool(self._compiling)

    def handle_commands(self, wait: bool) -> None:
        """Do all that stands in the inbox; with `wait`, until there is something."""
        try:
            command = self.inbox.get(block=wait)
            while True:
                self._handle(command)
                command = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _handle(self, command: Command | _Compiled) -> None:
        match command:
            case Submit(job):
                self._submit(job)
            case _Compiled(job, result):
                self._compiled(job, result)
            case Abort(id, keep):
                self._abort(id, keep)
            case SendTrace():
                self._emit(Report(trace=self._recorder.trace))
            case Close():
                self._closing = True
        if len(self._outbox):
            self._report()

    def _report(self) -> None:
        stats = self._recorder.stats_if_due(self.scheduler)
        if stats is not None or len(self._outbox):
            self._emit(Report(self._outbox.drain(), stats))

    # --- coming and going

    def _submit(self, job: Job) -> None:
        try:
            self._preparer.check(job)
        except PublicanError as error:
            self._outbox.failed(job.id, error)
            return
        if is_constrained(job.sampling):
            self._compiling.add(job.id)
            self._compiler.compile_later(job.sampling, lambda result: self.inbox.put(_Compiled(job, result)))
        else:
            self._begin(job, None)

    def _compiled(self, job: Job, result: Matcher | PublicanError) -> None:
        if job.id not in self._compiling:
            return  # aborted meanwhile
        self._compiling.remove(job.id)
        if isinstance(result, PublicanError):
            self._outbox.failed(job.id, result)
        else:
            self._begin(job, result)

    def _begin(self, job: Job, matcher: Matcher | None) -> None:
        group = self._preparer.group(job, self._num_arrived, matcher)
        self._num_arrived += 1
        self._groups[job.id] = group
        if job.pooling is not None:
            group.search = PooledPrompt(group, self._tools, job.pooling)
        elif is_search(job.sampling):
            group.search = (ContrastiveSearch if is_contrastive(job.sampling) else BeamSearch)(group, self._tools)
        for sequence in group.sequences:
            for member in sequence.unit:
                self.scheduler.submit(member)
        if job.stopping.max_tokens == 0 and group.prompt_outputs is None:
            for sequence in list(group.sequences):
                self._finish(sequence, FinishReason.LENGTH)

    def _abort(self, id: RequestId, keep: bool) -> None:
        if id in self._compiling:
            self._compiling.remove(id)
            if keep:
                self._outbox.failed(id, EngineError("The request was stopped before it began."))
            return
        group = self._groups.get(id)
        if group is None:
            return
        if group.search is not None:
            group.search.stop()
            del self._groups[id]
        else:
            for sequence in group.sequences:
                if not sequence.finished:
                    self._finish(sequence, FinishReason.ABORTED)
        if not keep:
            self._outbox.forget(id)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        group = sequence.group
        self._release(sequence)
        self._outbox.ended(sequence, reason)
        if group.num_unfinished == 0:
            del self._groups[group.job.id]
            self._outbox.finished(group, sum(max(0, s.num_generated) for s in group.sequences))

    def _release(self, sequence: Sequence) -> None:
        for member in sequence.unit:
            self.scheduler.finish(member)
        if sequence.row is not None:
            self._pipeline.remove(sequence.row)
            sequence.row = None
        sequence.finished = True

    def _retreat(self, error: OutOfMemory) -> None:
        failed = self.scheduler.retreat()
        if failed is not None:
            self._fail(failed.group, error)

    def _fail_sequence(self, sequence: Sequence, error: PublicanError) -> None:
        self._fail(sequence.group, error)

    def _fail(self, group: Group, error: PublicanError) -> None:
        for sequence in group.sequences:
            if not sequence.finished:
                self._release(sequence)
        del self._groups[group.job.id]
        self._outbox.failed(group.job.id, error)

    def _fail_all(self, error: PublicanError) -> None:
        self.handle_commands(wait=False)
        for id in (*self._groups, *self._compiling):
            self._outbox.failed(id, error)
        self._groups.clear()
        self._compiling.clear()
        self._emit(Report(self._outbox.drain()))

    # --- committing

    def _commit(self, planned: Seq[Planned], result: StepResult) -> None:
        """Give every sequence whose known tokens are now all computed its next one."""
        rows = self._read_rows(planned, result)
        whole = [s for s, n in planned if n == s.num_pending]
        answers = [s for s in whole if s.group.search is None and s in s.group.sequences]  # and no shadows
        drawing = [s for s in answers if not _asks_nothing(s)]
        draws = [self._draw(sequence, rows) for sequence in drawing]
        choices = self._pipeline.sample(result.logits, draws) if draws else []
        self._recorder.end_sampling()
        self.scheduler.commit(planned)
        for sequence, choice in zip(drawing, choices, strict=True):
            if not sequence.finished:  # its group may have failed a moment ago
                self._commits.chosen(sequence, choice)
        self._confirm([s for s in drawing if s.draft], result.logits, rows)
        for sequence in answers:
            if _asks_nothing(sequence):
                self._finish(sequence, FinishReason.LENGTH)
        for group in {s.group: None for s in whole if s.group.search is not None}:
            self._advance(group, result.logits, rows)

    def _confirm(self, guessed: Seq[Sequence], logits: Array, rows: dict[Sequence, int]) -> None:
        """Where a guess came true, what comes after it is computed already: sample there too, and so on while they do."""
        num_true = 0
        going = [s for s in guessed if not s.finished]
        while going:
            came_true = [s for s in going if num_true < len(s.draft) and s.tokens[-1] == s.draft[num_true]]
            for sequence in going:
                if sequence not in came_true:
                    self.scheduler.settle(sequence, num_true)
            num_true += 1
            for sequence in came_true:
                self.scheduler.confirm(sequence)
                rows[sequence] += 1
            self._recorder.begin_sampling()
            choices = self._pipeline.sample(logits, [self._draw(s, rows) for s in came_true]) if came_true else []
            self._recorder.end_sampling()
            for sequence, choice in zip(came_true, choices, strict=True):
                if not sequence.finished:
                    self._commits.chosen(sequence, choice)
            going = [s for s in came_true if not s.finished]

    def _read_rows(self, planned: Seq[Planned], result: StepResult) -> dict[Sequence, int]:
        """The row of logits that comes after each sequence's last token; the prompts' and the states' are read on the way."""
        rows: dict[Sequence, int] = {}
        row = state = 0
        for sequence, num_tokens in planned:
            group = sequence.group
            if not group.first_planned_s:
                group.first_planned_s = self._recorder.step_began_s
            if group.search is not None and group.search.hidden_wanted:
                assert result.hidden is not None
                group.search.saw(sequence, result.hidden[state : state + num_tokens])
                state += num_tokens
            if sequence.reads_whole_prompt:
                self._read_prompt(sequence, result.logits[row : row + num_tokens])
                row += num_tokens
            else:
                row += num_logits_of(sequence, num_tokens)
            rows[sequence] = row - 1 - len(sequence.draft)
        return rows

    def _draw(self, sequence: Sequence, rows: dict[Sequence, int]) -> Draw:
        if sequence.row is None:
            job = sequence.job
            num_logprobs = job.wanted.logprobs
            if num_logprobs is None and sequence.group.num_tries:
                num_logprobs = 0
            sequence.row = self._pipeline.add(
                job.sampling.for_choice(sequence.index),
                sequence.tokens,
                num_logprobs,
                sequence.num_prompt,
                job.stopping.token_ids,
            )
        mask = sequence.matcher.mask if sequence.matcher is not None else None
        if sequence.heal and sequence.num_generated < 0:
            mask = self._healer.mask(sequence.heal)
        banned = tuple(sequence.banned_at.get(len(sequence.tokens), ()))
        uncond_row = rows[sequence.shadow] if sequence.shadow is not None else None
        return Draw(sequence.row, rows[sequence], mask, banned, uncond_row)

    def _advance(self, group: Group, logits: Array, rows: dict[Sequence, int]) -> None:
        assert group.search is not None
        if any(sequence.num_pending for sequence in group.sequences):
            return  # a part of it is still computing its prompt
        group.search.advance(logits, rows)
        if not group.sequences:
            del self._groups[group.job.id]

    def _read_prompt(self, sequence: Sequence, logits: Array) -> None:
        """Note the log probabilities of the prompt tokens that these rows of logits predict."""
        outputs = sequence.group.prompt_outputs
        assert outputs is not None
        start = sequence.num_computed
        if start == 0:
            first = sequence.tokens[0]
            outputs[:] = [TokenOutput(first, self._vocabulary.pieces[first])]
        targets = sequence.job.tokens[start + 1 : start + 1 + len(logits)]
        num_top = sequence.job.wanted.prompt_logprobs or 0
        for choice in self._pipeline.logprobs(logits[: len(targets)], targets, num_top):
            outputs.append(self._outbox.output(choice))


def _num_prompt_tokens(planned: Seq[Planned]) -> int:
    return sum(p.num_tokens for p in planned if p.num_tokens > 1)


def _asks_nothing(sequence: Sequence) -> bool:
    """Whether only the prompt was to be read."""
    return sequence.job.stopping.max_tokens == 0
