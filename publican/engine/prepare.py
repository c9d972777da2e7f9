"""From a job to the sequences that answer it. Engine thread only; knows nothing of slots or steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

from publican.core.errors import InvalidParameter, PromptTooLong, Unsupported
from publican.core.executor import ExecutorInfo
from publican.core.sampling import SamplingParams
from publican.core.step import NO_ADAPTER
from publican.core.tokenizer import Vocabulary
from publican.engine.drafting.drafter import Drafter
from publican.engine.grammar.matcher import Matcher
from publican.engine.job import Job
from publican.engine.sequence import Group, Sequence
from publican.engine.text import TextStream


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes groups for one model."""

    vocabulary: Vocabulary
    info: ExecutorInfo
    max_running: int
    drafter: Drafter | None = None

    def check(self, job: Job) -> None:
        """Raises PromptTooLong, InvalidParameter or Unsupported for what this engine cannot do."""
        if len(job.tokens) >= self.info.context_len + (job.pooling is not None):
            raise PromptTooLong(len(job.tokens), self.info.context_len)
        if len(job.negative_tokens) >= self.info.context_len:
            raise PromptTooLong(len(job.negative_tokens), self.info.context_len)
        if not NO_ADAPTER <= job.adapter < self.info.num_adapters:
            raise Unsupported("This loader has no such adapter; load the model with the native loader and --lora.")
        if job.pooling is not None and not self.info.hidden_size:
            raise Unsupported("This loader does not give hidden states, of which vectors are made; use the native loader.")
        if job.pooling is None and self.info.is_encoder:
            raise Unsupported("This model turns texts into vectors and writes none; ask it for embeddings.")
        _check_search(job)
        params = job.sampling
        num_together = params.num_beams if params.num_beams > 1 else max(2, params.top_k) if is_contrastive(params) else 1
        if num_together > self.max_running:
            raise Unsupported(f"This search follows {num_together} answers side by side, and {self.max_running} can run here.")
        if is_contrastive(params) and not self.info.hidden_size:
            raise Unsupported("penalty_alpha needs hidden states, which this loader does not give; use the native loader.")

    def group(self, job: Job, arrival: int, matcher: Matcher | None) -> Group:
        """The group of a checked job. Every sequence gets a copy of `matcher`."""
        group = Group(job, arrival, time.perf_counter())
        if job.wanted.prompt_logprobs is not None:
            group.prompt_outputs = []
        num_sequences = 1 if is_search(job.sampling) else job.wanted.num_choices
        if not is_search(job.sampling) and job.sampling.best_of > job.wanted.num_choices:
            num_sequences = group.num_tries = job.sampling.best_of
        heal = b"" if matcher is not None else self._to_heal(job)  # a grammar is of the answer, and knows no prompt
        for index in range(num_sequences):
            tokens = list(job.tokens[:-1] if heal else job.tokens)
            sequence = Sequence(group, index, tokens, self._text(job, len(heal)), heal=heal)
            sequence.matcher = matcher.copy() if matcher is not None else None
            if job.negative_tokens and job.sampling.guidance_scale != 1.0:
                shadow = Sequence(group, index, list(job.negative_tokens), sequence.text)
                sequence.shadow = shadow
                sequence.peers = shadow.peers = (sequence, shadow)
            if self.drafter is not None and job.pooling is None and _is_guessable(sequence):
                full_len = min(self.info.context_len, len(job.tokens) + (job.stopping.max_tokens or self.info.context_len))
                sequence.guesses = self.drafter.begin(job, index, full_len)
            group.sequences.append(sequence)
        return group

    def _text(self, job: Job, skip: int) -> TextStream:
        stopping, wanted = job.stopping, job.wanted
        return TextStream(
            self.vocabulary,
            stopping.strings,
            stopping.include_string,
            wanted.special_tokens,
            job.sampling.banned_strings,
            skip,
        )

    def _to_heal(self, job: Job) -> bytes:
        """What the first token must begin with, because the prompt's last token is chosen again; empty for no healing."""
        wanted = job.sampling.token_healing and len(job.tokens) > 1 and job.stopping.max_tokens != 0
        if not wanted or job.wanted.prompt_logprobs is not None or job.negative_tokens or is_search(job.sampling):
            return b""
        last = job.tokens[-1]
        return b"" if last in self.vocabulary.special else self.vocabulary.pieces[last]


def _is_guessable(sequence: Sequence) -> bool:
    """Whether the next token is chosen from its row of logits and what came before, and stays once it is chosen."""
    alone = sequence.matcher is None and sequence.shadow is None and not sequence.heal and not sequence.group.num_tries
    return alone and not is_search(sequence.job.sampling) and not sequence.job.sampling.banned_strings


def is_contrastive(params: SamplingParams) -> bool:
    return params.penalty_alpha > 0.0


def is_search(params: SamplingParams) -> bool:
    """Whether tokens are chosen for several sequences together."""
    return params.num_beams > 1 or is_contrastive(params)


def _check_search(job: Job) -> None:
    params, wanted = job.sampling, job.wanted
    if not is_search(params):
        return
    name = "num_beams" if params.num_beams > 1 else "penalty_alpha"
    if params.num_beams > 1 and is_contrastive(params):
        raise InvalidParameter("penalty_alpha", "cannot be combined with num_beams.")
    if is_contrastive(params) and params.top_k < 2:
        raise InvalidParameter("penalty_alpha", "needs top_k of 2 or more: the candidates that it compares.")
    if wanted.num_choices > (params.num_beams if params.num_beams > 1 else 1):
        raise InvalidParameter("n", f"cannot be more than {name} finds.")
    others = {
        "logprobs": wanted.logprobs is not None,
        "best_of": params.best_of > 1,
        "guidance_scale": bool(job.negative_tokens),
        "banned_strings": bool(params.banned_strings),
        "grammar": bool(params.grammar or params.json_schema or params.regex or params.choice),
    }
    for other, is_on in others.items():
        if is_on:
            raise InvalidParameter(other, f"cannot be combined with {name}.")
