"""`Results`: the third beat of a step. What was computed becomes everybody's next token. Engine thread only.

What goes wrong over one answer fails that answer's request (see `roster`). Answers are sampled together; where that breaks,
each is tried alone to find out whose fault it is, and the others have their last token computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq

from publican.core.events import FinishReason, TokenOutput
from publican.core.executor import Array, StepResult
from publican.engine.commit import Commit
from publican.engine.grammar.matcher import Matcher
from publican.engine.masks import Unfilled
from publican.engine.planned import Planned, num_hidden_of, num_logits_of
from publican.engine.roster import Roster
from publican.engine.sampling.healing import Healer
from publican.engine.sampling.pipeline import Choice, Draw
from publican.engine.search.search import Tools
from publican.engine.sequence import Group, Sequence
from publican.engine.stats import Recorder

Broken = dict[Group, BaseException]
"""What went wrong over whom."""


class Results:
    """Commits steps.

    Args:
        tools: what belongs to the engine.
        roster: told of ends and failures.
    """

    def __init__(self, tools: Tools, roster: Roster, recorder: Recorder) -> None:
        self._scheduler, self._pipeline, self._outbox = tools.scheduler, tools.pipeline, tools.outbox
        self._roster = roster
        self._recorder = recorder
        self._healer = Healer(tools.outbox.vocabulary)
        self._commits = Commit(tools.scheduler, tools.pipeline, tools.outbox, roster.finish, roster.fail)

    def commit(self, planned: Seq[Planned], result: StepResult, unfilled: Unfilled = ()) -> None:
        """Give every sequence whose known tokens are now all computed its next one.

        Args:
            unfilled: matchers whose masks are not there, and why.
        """
        broken: Broken = {}
        rows = self._read_rows(planned, result, broken)
        if unfilled:
            broken |= _without_mask(planned, dict(unfilled))
        whole = [s for s, n in planned if n == s.num_pending]
        self._recorder.end_sampling()
        self._scheduler.commit(planned)
        if broken:
            self._break(broken)
            whole = [s for s in whole if s.group not in broken]
        answers = [s for s in whole if s.group.search is None and s in s.group.sequences]  # and no shadows
        drawing = [s for s in answers if not _asks_nothing(s)]
        self._recorder.begin_sampling()
        choices = self._sample(drawing, result.logits, rows)
        self._recorder.end_sampling()
        self._choose(choices)
        self._confirm([s for s in drawing if s.draft and not s.finished], result.logits, rows)
        for sequence in answers:
            if _asks_nothing(sequence):
                self._end(sequence)
        for group in {s.group: None for s in whole if s.group.search is not None}:
            self._advance(group, result.logits, rows)

    def _read_rows(self, planned: Seq[Planned], result: StepResult, broken: Broken) -> dict[Sequence, int]:
        """The row of logits that comes after each sequence's last token; the prompts' and the states' are read on the way."""
        rows: dict[Sequence, int] = {}
        row = state = 0
        for sequence, num_tokens in planned:
            group, search = sequence.group, sequence.group.search
            if not group.first_planned_s:
                group.first_planned_s = self._recorder.step_began_s
            num_states, num_logits = num_hidden_of(sequence, num_tokens), num_logits_of(sequence, num_tokens)
            try:
                if search is not None and num_states:
                    assert result.hidden is not None
                    search.saw(sequence, result.hidden[state : state + num_states])
                if sequence.reads_whole_prompt:
                    self._read_prompt(sequence, result.logits[row : row + num_logits])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                broken[group] = error
            state += num_states
            row += num_logits
            rows[sequence] = row - 1 - len(sequence.draft)
        return rows

    def _read_prompt(self, sequence: Sequence, logits: Array) -> None:
        """Note the log probabilities of the prompt tokens that these rows of logits predict."""
        outputs = sequence.group.prompt_outputs
        assert outputs is not None
        start = sequence.num_computed
        if start == 0:
            first = sequence.tokens[0]
            outputs[:] = [TokenOutput(first, self._outbox.vocabulary.pieces[first])]
        targets = sequence.job.tokens[start + 1 : start + 1 + len(logits)]
        num_top = sequence.job.wanted.prompt_logprobs or 0
        for choice in self._pipeline.logprobs(logits[: len(targets)], targets, num_top):
            outputs.append(self._outbox.output(choice))

    # --- sampling

    def _sample(
        self, sequences: Iterable[Sequence], logits: Array, rows: dict[Sequence, int], num_true: int = 0
    ) -> list[tuple[Sequence, Choice]]:
        """The next token of each of `sequences`, of whose guesses in this step so many have come true."""
        draws = self._draws(sequences, rows)
        if not draws:
            return []
        try:
            choices = self._pipeline.sample(logits, list(draws.values()))
        except Exception as error:  # noqa: BLE001 - raised again if it is nobody's in particular
            self._break(self._culprits(logits, draws, error))
            for sequence in draws:
                if not sequence.finished:
                    self._again(sequence, num_true)
            return []
        return list(zip(draws, choices, strict=True))

    def _draws(self, sequences: Iterable[Sequence], rows: dict[Sequence, int]) -> dict[Sequence, Draw]:
        draws: dict[Sequence, Draw] = {}
        broken: Broken = {}
        for sequence in sequences:
            try:
                draws[sequence] = self._draw(sequence, rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                broken[sequence.group] = error
        if broken:
            self._break(broken)
            draws = {sequence: draw for sequence, draw in draws.items() if not sequence.finished}
        return draws

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

    def _culprits(self, logits: Array, draws: dict[Sequence, Draw], error: Exception) -> Broken:
        """Who cannot be sampled alone either. Raises `error` if that is none of several requests, or all of them."""
        broken: Broken = {}
        for sequence, draw in draws.items():
            try:
                self._pipeline.sample(logits, [draw])
            except Exception as own:  # noqa: BLE001 - whatever it is, it is this request's
                broken[sequence.group] = own
        groups = {sequence.group for sequence in draws}
        if len(groups) > 1 and len(broken) in (0, len(groups)):
            raise error
        return broken or dict.fromkeys(groups, error)

    def _again(self, sequence: Sequence, num_true: int) -> None:
        """Its logits may have been written to: compute the last token again, and choose then."""
        assert sequence.row is not None
        if sequence.draft:
            self._scheduler.settle(sequence, num_true)
        self._pipeline.rewind(sequence.row, len(sequence.tokens))
        for rewound in filter(None, (sequence, sequence.shadow)):
            self._scheduler.rewind(rewound, len(rewound.tokens))

    def _confirm(self, guessed: Seq[Sequence], logits: Array, rows: dict[Sequence, int]) -> None:
        """Where a guess came true, what comes after it is computed already: sample there too, and so on while they do."""
        num_true = 0
        going = guessed
        while going:
            came_true = [s for s in going if num_true < len(s.draft) and s.tokens[-1] == s.draft[num_true]]
            for sequence in going:
                if sequence not in came_true:
                    self._scheduler.settle(sequence, num_true)
            num_true += 1
            for sequence in came_true:
                self._scheduler.confirm(sequence)
                rows[sequence] += 1
            self._recorder.begin_sampling()
            choices = self._sample(came_true, logits, rows, num_true)
            self._recorder.end_sampling()
            self._choose(choices)
            going = [s for s in came_true if s.draft and not s.finished]

    # --- what follows

    def _choose(self, choices: Iterable[tuple[Sequence, Choice]]) -> None:
        for sequence, choice in choices:
            if sequence.finished:
                continue  # its group failed a moment ago
            try:
                self._commits.chosen(sequence, choice)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                self._break({sequence.group: error})

    def _end(self, sequence: Sequence) -> None:
        """Only its prompt was to be read."""
        if not sequence.finished:
            try:
                self._roster.finish(sequence, FinishReason.LENGTH)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                self._break({sequence.group: error})

    def _advance(self, group: Group, logits: Array, rows: dict[Sequence, int]) -> None:
        assert group.search is not None
        if any(sequence.num_pending for sequence in group.sequences):
            return  # a part of it is still computing its prompt
        try:
            group.search.advance(logits, rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
            self._break({group: error})
            return
        if not group.sequences:
            self._roster.left(group)

    def _break(self, broken: Broken) -> None:
        for group, error in broken.items():
            if group.job.id in self._roster.groups:
                self._roster.broke(group.job.id, error)


def _without_mask(planned: Iterable[Planned], errors: dict[Matcher, BaseException]) -> Broken:
    found = ((sequence.group, sequence.matcher) for sequence, _ in planned)
    return {group: errors[matcher] for group, matcher in found if matcher is not None and matcher in errors}


def _asks_nothing(sequence: Sequence) -> bool:
    """Whether only the prompt was to be read."""
    return sequence.job.stopping.max_tokens == 0
