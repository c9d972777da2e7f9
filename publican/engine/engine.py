"""`Engine`: the loop that owns everything about the running requests. One thread, no locks.

    plan, planned = scheduler.plan()      decide
    result = executor.execute(plan)       compute, and meanwhile fill grammar masks
    results.commit(planned, result)       sample, stop, detokenise; then one report goes out

Commands come in by one inbox, from any thread; reports go out by one call per step, on the engine's thread.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace

from publican.core.errors import EngineError, OutOfMemory, PublicanError, WorkerDied
from publican.core.executor import Executor
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig, StepBudget
from publican.engine.drafting.choose import can_forget, make_drafter
from publican.engine.grammar.compiler import Compiler
from publican.engine.job import Abort, Close, Command, Report, SendTrace, Submit
from publican.engine.masks import Masks
from publican.engine.memory import cache_for
from publican.engine.outbox import Outbox
from publican.engine.planned import Planned
from publican.engine.prepare import Preparer
from publican.engine.results import Results
from publican.engine.roster import Compiled, Roster
from publican.engine.sampling.pipeline import Pipeline
from publican.engine.scheduler import Scheduler, SchedulerConfig
from publican.engine.search.search import Tools
from publican.engine.stats import Recorder

log = logging.getLogger(__name__)


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
        self.inbox: queue.SimpleQueue[Command | Compiled] = queue.SimpleQueue()
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
        self._compiler = Compiler(vocabulary)
        self._masks = Masks()
        self._recorder = Recorder()
        tools = Tools(self.scheduler, self._pipeline, self._outbox, info.context_len)
        preparer = Preparer(vocabulary, info, max_running, self._drafter)
        self._roster = Roster(preparer, self._compiler, tools, self.inbox.put)
        self._results = Results(tools, self._roster, self._recorder)
        self._closing = False
        self._step_began_s = 0.0

    # --- the loop

    def run(self) -> None:
        """Work until told to close. Whatever happens, every job ends in an event."""
        error: PublicanError = WorkerDied("The model was unloaded before this request was finished; try again in a moment.")
        try:
            while not self._closing:
                self.handle_commands(wait=not self._roster.groups)
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
                self._roster.fail(
                    stuck.group, OutOfMemory("There is not enough memory for this prompt; shorten it, or free memory.")
                )
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
        self._results.commit(planned, result, self._masks.wait())
        self._roster.check_if_suspect()
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
        return self._roster.is_compiling

    def check(self) -> None:
        """Raises AssertionError if the jobs, the scheduler, its memory and the sampler disagree. Between steps only."""
        self._roster.check()

    def handle_commands(self, wait: bool) -> None:
        """Do all that stands in the inbox; with `wait`, until there is something."""
        try:
            command = self.inbox.get(block=wait)
            while True:
                self._handle(command)
                command = self.inbox.get_nowait()
        except queue.Empty:
            return

    def _handle(self, command: Command | Compiled) -> None:
        match command:
            case Submit(job):
                self._roster.submit(job)
            case Compiled(job, result):
                self._roster.compiled(job, result)
            case Abort(id, keep):
                self._roster.abort(id, keep)
            case SendTrace():
                self._emit(Report(trace=self._recorder.trace))
            case Close():
                self._closing = True
        self._roster.check_if_suspect()
        if len(self._outbox):
            self._report()

    def _retreat(self, error: OutOfMemory) -> None:
        failed = self.scheduler.retreat()
        if failed is not None:
            self._roster.fail(failed.group, error)

    def _fail_all(self, error: PublicanError) -> None:
        try:
            self.handle_commands(wait=False)
        finally:
            self._roster.fail_all(error)
            self._emit(Report(self._outbox.drain()))

    def _report(self) -> None:
        stats = self._recorder.stats_if_due(self.scheduler)
        if stats is not None or len(self._outbox):
            self._emit(Report(self._outbox.drain(), stats))


def _num_prompt_tokens(planned: Seq[Planned]) -> int:
    return sum(p.num_tokens for p in planned if p.num_tokens > 1)
