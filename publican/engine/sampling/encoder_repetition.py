"""encoder_repetition_penalty e (Hugging Face): pulls towards the prompt, whose tokens get l · e if positive, else l / e."""

from __future__ import annotations

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class EncoderRepetition:
    steps = ("encoder_repetition_penalty",)

    def __init__(self) -> None:
        self._factor = Column(1.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._factor.set(row, params.encoder_repetition_penalty if "encoder_repetition_penalty" in stack else 1.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        which, tokens, factor = batch.keep("encoder_repetition", lambda: self._of_prompts(rows, batch))
        at_rows, columns, found = rows.find(which, tokens)
        factor = factor if found is None else factor[found]
        logits = rows.at(at_rows, columns)
        rows.set(at_rows, columns, rows.xp.where(logits > 0.0, logits * factor, logits / factor))

    def _of_prompts(self, rows: Rows, batch: Batch) -> tuple[object, ...]:
        """The distinct tokens of the prompts of the rows that want it; they never change."""
        factors = self._factor.take(batch.rows)[:, 0]
        wanting = np.flatnonzero(factors != 1.0).tolist()
        prompts = [np.unique(batch.states[i].tokens[: batch.states[i].num_prompt]) for i in wanting]
        which = np.repeat(wanting, [len(prompt) for prompt in prompts])
        put = rows.space.put
        return put(which), put(np.concatenate(prompts).astype(np.int64)), put(factors[which], rows.logits.dtype)
