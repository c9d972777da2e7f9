"""Which of a repository's models to take, and why. Pure: sizes and what fits come in, a choice with its reason goes out.

Formats in the order in which they run best here: safetensors if all of it fits, else the GGUF quant with the most bits per
weight that leaves everyone the context they want; beyond eight bits nobody has found a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from publican.core.errors import ModelFileError, OutOfMemory, UnsupportedModel
from publican.core.model import Checkpoint
from publican.store.pull.candidates import Candidate
from publican.store.recognise.instead import instead_of_pickle

MOST_BITS = 9.0
_USUAL = "Q4_K_M"
_USUAL_BITS = 4.85


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a model lies in the memory there is.

    Attributes:
        fits: with a context of `wanted_len` for each of `wanted_users`.
        context_len: the longest context for that many users; 0 if it does not fit at all.
        num_users: the most users at the context that was wanted.
        where: for people: ``15.1 GB of memory``, ``24 GB on one GPU``.
    """

    fits: bool
    context_len: int
    num_users: int
    wanted_len: int
    wanted_users: int
    where: str = ""

    @property
    def wish(self) -> str:
        """What was wanted, in words."""
        if self.wanted_users == 1:
            return f"1 user with {self.wanted_len:,} tokens"
        return f"{self.wanted_users} users with {self.wanted_len:,} tokens each"


Fits = Callable[[Checkpoint, int], Fitting | None]
"""What becomes of a model like this one whose weights take so many bytes (another quant of it); None if nobody can say."""


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate with what is known of it; 0 bits is unknown. `objection` says why it cannot be run, empty for nothing."""

    candidate: Candidate
    bits_per_weight: float = 0.0
    fitting: Fitting | None = None
    objection: str = ""

    def because(self, objection: str) -> Row:
        return replace(self, objection=objection)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to take. `rows` are all there were, for people to see."""

    row: Row
    reason: str
    rows: tuple[Row, ...]


def choose(rows: Sequence[Row], anyway: bool = False) -> Choice:
    """One of `rows`.

    Args:
        anyway: take one that does not fit rather than none.

    Raises:
        UnsupportedModel: none can be run; the text is the first's objection.
        OutOfMemory: none fits.
        ModelFileError: there is none.
    """
    usable = [row for row in rows if row.candidate.container != "pickle" or len(rows) == 1]
    if not usable:
        raise ModelFileError("There is no model to choose.")
    runnable = [row for row in usable if not row.objection and not row.candidate.missing]
    if not runnable:
        raise UnsupportedModel(next((row.objection for row in usable if row.objection), "Parts of this model are missing."))
    row, reason = _best(runnable, anyway)
    return Choice(row, reason, tuple(rows))


def choose_pickle(candidate: Candidate, allowed: bool) -> Choice:
    """A repository with nothing but pickles.

    Raises:
        UnsupportedModel: they are not allowed.
    """
    if not allowed:
        raise UnsupportedModel(instead_of_pickle(candidate.snapshot.repo, candidate.snapshot.base_models))
    row = Row(candidate)
    return Choice(row, "pickles were allowed: its weights become safetensors, and nothing else in them is looked at", (row,))


def _best(rows: Sequence[Row], anyway: bool) -> tuple[Row, str]:
    if len(rows) == 1 and (anyway or _fits(rows[0])):
        return rows[0], "the only one that runs here"
    dense = [row for row in rows if row.candidate.container == "safetensors" and _fits(row)]
    if dense:
        best = max(dense, key=_bits)
        others = "" if len(dense) == len(rows) else "; a GGUF quant would be smaller"
        return best, f"the whole model fits{_where(best)}{others}" if best.fitting else "safetensors runs best here"
    quants = [row for row in rows if row.candidate.container == "gguf"]
    if quants and all(row.fitting is None for row in quants):
        usual = next((row for row in quants if row.candidate.label == _USUAL), None)
        usual = usual or min(quants, key=lambda row: (abs(_bits(row) - _USUAL_BITS), row.candidate.num_bytes))
        return usual, "the usual middle way between size and quality; what fits here is not known"
    fitting = [row for row in quants if _fits(row)]
    sensible = [row for row in fitting if _bits(row) <= MOST_BITS]
    if fitting:
        best = max(sensible, key=_bits) if sensible else min(fitting, key=_bits)
        bits = f"{_bits(best):.1f} bits per weight, " if _bits(best) else ""
        wish = f" beside {best.fitting.wish}" if best.fitting else ""
        return best, f"{bits}the most that fit{_where(best)}{wish}"
    smallest = min(rows, key=lambda row: row.candidate.num_bytes)
    if anyway:
        return smallest, "the smallest, for none fits; taken because you said so"
    raise OutOfMemory(_too_large(smallest, len(rows)))


def _fits(row: Row) -> bool:
    return row.fitting is None or row.fitting.fits


def _bits(row: Row) -> float:
    return row.bits_per_weight


def _where(row: Row) -> str:
    return f" in {row.fitting.where}" if row.fitting and row.fitting.where else ""


def _too_large(smallest: Row, num_rows: int) -> str:
    candidate, fitting = smallest.candidate, smallest.fitting
    size = f"{candidate.num_bytes / 1e9:,.1f} GB"
    whose = candidate.label or candidate.snapshot.repo
    subject = (
        f"{whose} ({size})" if num_rows == 1 else f"The smallest of {num_rows} in {candidate.snapshot.repo}, {whose} ({size}),"
    )
    room = f" {fitting.context_len:,} tokens of context would fit;" if fitting and fitting.context_len else ""
    wish = f" beside {fitting.wish}" if fitting else ""
    return (
        f"{subject} does not fit{_where(smallest)}{wish};{room} ask for less (--ctx, --users), take a smaller model, or add "
        "--anyway."
    )
