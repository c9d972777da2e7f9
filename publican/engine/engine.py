"""`Engine`: the loop that owns everything about the running requests. One thread, no locks.

    plan = scheduler.plan()            decide
    result = executor.execute(plan)    compute
    _commit(…)                         sample, stop, detokenise, emit

Commands come in by one inbox, from any thread; reports go out by one call per step, on the engine's thread.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq

from publican.core.errors import EngineError, OutOfMemory, PromptTooLong, PublicanError
from publican.core.events import FinishReason, TokenOutput
from publican.core.executor import Array, Executor, StepResult
from publican.core.ids import RequestId
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig, StepBudget
from publican.engine.job import Abort, Close, Command, Job, Report, SendTrace, Submit
from publican.engine.memory import cache_for
from publican.engine.outbox import Outbox
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.engine.scheduler import Planned, Scheduler, SchedulerConfig
from publican.engine.sequence import Group, Sequence
from publican.engine.stats import Recorder
from publican.engine.text import TextStream

log = logging.getLogger(__name__)


class Engine:
    """Runs jobs on an executor.

    Args:
        executor: used by this engine's thread alone, and closed by it.
        vocabulary: the bytes of each token, and which of them end an answer.
        emit: takes what a step gives to the outside; called on the engine's thread, must not block for long.
        max_running: how many sequences are computed together, at most.
        budget: how a step is divided between prompts and answers.
    """

    def __init__(
        self,
        executor: Executor,
        vocabulary: Vocabulary,
        emit: Callable[[Report], None],
        max_running: int = 32,
        budget: BudgetConfig | None = None,
    ) -> None:
        info = executor.info
        self.executor = executor
        self.info = info
        self.inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._vocabulary = vocabulary
        self._emit = emit
        self._budget = StepBudget((budget or BudgetConfig()).within(info.max_batch_tokens))
        max_running = min(max_running, info.num_slots, info.max_logits, info.max_batch_tokens)
        self.scheduler = Scheduler(SchedulerConfig(max_running, info.max_logits), cache_for(info), self._budget)
        self._pipeline = Pipeline(vocabulary)
        self._outbox = Outbox(vocabulary, info.context_len)
        self._recorder = Recorder()
        self._groups: dict[RequestId, Group] = {}
        self._num_arrived = 0
        self._closing = False

    # --- the loop

    def run(self) -> None:
        """Work until told to close. Whatever happens, every job ends in an event."""
        error: PublicanError = EngineError("The model was unloaded before this request was finished.")
        try:
            while not self._closing:
                self.handle_commands(wait=not self._groups)
                if not self._closing:
                    self.step()
        except Exception as caught:
            log.exception("the engine stopped")
            text = str(caught) if isinstance(caught, PublicanError) else "The engine stopped on an internal error; see the log."
            error = EngineError(text)
            raise
        finally:
            self._fail_all(error)
            self.executor.close()

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
        clock.planned()
        try:
            result = self.executor.execute(plan)
        except OutOfMemory as error:
            self._retreat(error)
            return True
        clock.executed()
        self._commit(planned, result)
        clock.committed()
        self._report()
        num_prompt_tokens = sum(p.num_tokens for p in planned if p.num_tokens > 1)
        trace = clock.emitted(len(planned), num_prompt_tokens, len(self.scheduler.waiting))
        self._budget.learn(num_prompt_tokens, trace.execute_ms / 1e3)
        return True

    def handle_commands(self, wait: bool) -> None:
        """Do all that stands in the inbox; with `wait`, until there is something."""
        try:
            command = self.inbox.get(block=wait)
            while True:
                self._handle(command)
                command = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _handle(self, command: Command) -> None:
        match command:
            case Submit(job):
                self._submit(job)
            case Abort(id, keep):
                self._abort(id, keep)
            case SendTrace():
                self._emit(Report(trace=self._recorder.trace))
            case Close():
                self._closing = True

    def _report(self) -> None:
        stats = self._recorder.stats_if_due(self.scheduler)
        if stats is not None or len(self._outbox):
            self._emit(Report(self._outbox.drain(), stats))

    # --- coming and going

    def _submit(self, job: Job) -> None:
        if len(job.tokens) >= self.info.context_len:
            self._outbox.failed(job.id, PromptTooLong(len(job.tokens), self.info.context_len))
            return
        group = Group(job, self._num_arrived, time.perf_counter())
        self._num_arrived += 1
        self._groups[job.id] = group
        if job.wanted.prompt_logprobs is not None:
            group.prompt_outputs = []
        stopping = job.stopping
        for index in range(job.wanted.num_choices):
            text = TextStream(self._vocabulary, stopping.strings, stopping.include_string, job.wanted.special_tokens)
            sequence = Sequence(group, index, list(job.tokens), text)
            group.sequences.append(sequence)
            self.scheduler.submit(sequence)
        if stopping.max_tokens == 0 and group.prompt_outputs is None:
            for sequence in group.sequences:
                self._finish(sequence, FinishReason.LENGTH)

    def _abort(self, id: RequestId, keep: bool) -> None:
        group = self._groups.get(id)
        if group is None:
            return
        for sequence in group.sequences:
            if not sequence.finished:
                self._finish(sequence, FinishReason.ABORTED)
        if not keep:
            self._outbox.forget(id)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        self._release(sequence)
        self._outbox.ended(sequence, reason)
        if sequence.group.num_unfinished == 0:
            del self._groups[sequence.job.id]

    def _release(self, sequence: Sequence) -> None:
        self.scheduler.finish(sequence)
        if sequence.row is not None:
            self._pipeline.remove(sequence.row)
            sequence.row = None
        sequence.finished = True

    def _retreat(self, error: OutOfMemory) -> None:
        failed = self.scheduler.retreat()
        if failed is not None:
            self._fail(failed.group, error)

    def _fail(self, group: Group, error: PublicanError) -> None:
        for sequence in group.sequences:
            if not sequence.finished:
                self._release(sequence)
        del self._groups[group.job.id]
        self._outbox.failed(group.job.id, error)

    def _fail_all(self, error: PublicanError) -> None:
        self.handle_commands(wait=False)
        for id in self._groups:
            self._outbox.failed(id, error)
        self._groups.clear()
        self._emit(Report(self._outbox.drain()))

    # --- committing

    def _commit(self, planned: Seq[Planned], result: StepResult) -> None:
        """Give every sequence whose known tokens are now all computed its next one."""
        draws: list[Draw] = []
        drawing: list[Sequence] = []
        done: list[Sequence] = []
        index = 0
        for sequence, num_tokens in planned:
            completes = num_tokens == sequence.num_pending
            if not sequence.group.first_planned_s:
                sequence.group.first_planned_s = self._recorder.step_began_s
            if sequence.reads_whole_prompt:
                self._read_prompt(sequence, result.logits[index : index + num_tokens])
                index += num_tokens
            elif completes:
                index += 1
            if not completes:
                continue
            if sequence.job.stopping.max_tokens == 0:
                done.append(sequence)
                continue
            draws.append(Draw(self._row(sequence), index - 1))
            drawing.append(sequence)
        choices = self._pipeline.sample(result.logits, draws) if draws else []
        self._recorder.sampled(len(choices), sum(p.num_tokens for p in planned if p.num_tokens > 1))
        self.scheduler.commit(planned)
        for sequence, choice in zip(drawing, choices, strict=True):
            reason = self._outbox.token(sequence, choice)
            if reason is not None:
                self._finish(sequence, reason)
        for sequence in done:
            self._finish(sequence, FinishReason.LENGTH)

    def _row(self, sequence: Sequence) -> int:
        if sequence.row is None:
            params = sequence.job.sampling.for_choice(sequence.index)
            sequence.row = self._pipeline.add(
                params, sequence.tokens, sequence.job.wanted.logprobs, sequence.num_prompt, sequence.job.stopping.token_ids
            )
        return sequence.row

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
