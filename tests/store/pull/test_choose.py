"""The choice: what fits, by memory, context and users, with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import OutOfMemory, UnsupportedModel
from publican.store.hub.client import RepoFile, Snapshot
from publican.store.pull.candidates import Candidate, Container
from publican.store.pull.choose import MOST_BITS, Fitting, Row, choose, choose_pickle

SNAPSHOT = Snapshot("org/repo", "main", "0" * 40, (), base_models=("meta/base",))


def row(label: str, bits: float, fits: bool | None = True, container: Container = "gguf", objection: str = "") -> Row:
    candidate = Candidate(SNAPSHOT, container, label, (RepoFile(f"{label}.x", int(bits * 1e9), None),))
    fitting = None if fits is None else Fitting(fits, 4096 if fits else 512, 4 if fits else 0, 4096, 4, "24 GB on one GPU")
    return Row(candidate, bits, fitting, objection)


def test_the_most_bits_that_fit() -> None:
    rows = [row("Q4_K_M", 4.8), row("Q5_K_M", 5.7), row("Q8_0", 8.5, fits=False), row("F16", 16, fits=False)]
    choice = choose(rows)
    assert choice.row.candidate.label == "Q5_K_M"
    assert choice.reason == "5.7 bits per weight, the most that fit in 24 GB on one GPU beside 4 users with 4,096 tokens each"
    assert choice.rows == tuple(rows)


def test_beyond_eight_bits_only_where_there_is_nothing_else() -> None:
    assert choose([row("Q8_0", 8.5), row("F16", 16)]).row.candidate.label == "Q8_0"
    assert choose([row("BF16", 16), row("F32", 32)]).row.candidate.label == "BF16"


def test_safetensors_first_if_all_of_it_fits() -> None:
    whole, quant = row("", 16, container="safetensors"), row("Q4_K_M", 4.8)
    assert choose([whole, quant]).row is whole
    tight = row("", 16, fits=False, container="safetensors")
    assert choose([tight, quant]).row is quant
    assert choose([row("", 16, container="safetensors", objection="no"), quant]).row is quant


def test_without_a_planner_it_is_the_usual_one() -> None:
    assert choose([row(q, bits, None) for q, bits in (("Q8_0", 8.5), ("Q4_K_M", 4.8))]).row.candidate.label == "Q4_K_M"
    assert choose([row(q, bits, None) for q, bits in (("Q8_0", 8.5), ("Q5_0", 5.5))]).row.candidate.label == "Q5_0"


def test_nothing_fits() -> None:
    rows = [row("Q8_0", 8.5, fits=False), row("Q4_K_M", 4.8, fits=False)]
    with pytest.raises(
        OutOfMemory, match=r"smallest of 2 in org/repo, Q4_K_M \(4.8 GB\), does not fit .* 512 tokens .*--anyway"
    ):
        choose(rows)
    assert choose(rows, anyway=True).row.candidate.label == "Q4_K_M"
    with pytest.raises(OutOfMemory, match=r"^Q4_K_M \(4.8 GB\) does not fit"):
        choose(rows[1:])


def test_what_cannot_be_run_is_not_chosen() -> None:
    rows = [row("IQ4_XS", 4.3, objection="IQ4_XS is not read; pull another."), row("Q2_K", 2.9)]
    assert choose(rows).row.candidate.label == "Q2_K"
    with pytest.raises(UnsupportedModel, match="IQ4_XS is not read"):
        choose(rows[:1])


def test_pickles() -> None:
    only = row("pickle", 16, container="pickle").candidate
    with pytest.raises(UnsupportedModel, match="meta/base or a copy"):
        choose_pickle(only, allowed=False)
    assert choose_pickle(only, allowed=True).row.candidate is only


@given(
    st.lists(
        st.tuples(
            st.floats(1, 33),
            st.sampled_from([True, False]),
            st.sampled_from(["", "no"]),
            st.sampled_from(["gguf", "safetensors"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_is_chosen_runs_and_fits(entries: list[tuple[float, bool, str, Container]]) -> None:
    rows = [row(f"q{i}", bits, fits, kind, no) for i, (bits, fits, no, kind) in enumerate(entries)]
    good = [r for r in rows if not r.objection and r.fitting and r.fitting.fits]
    try:
        chosen = choose(rows).row
    except (OutOfMemory, UnsupportedModel):
        assert not good
        return
    assert chosen in good
    if chosen.candidate.container == "gguf":
        assert all(r.candidate.container == "gguf" for r in good)
        assert not any(chosen.bits_per_weight < r.bits_per_weight <= MOST_BITS for r in good)
