"""Which pieces are here: random takes, arrivals and losses against a plain list."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from publican.store.transfer.pieces import Layout, Pieces


@given(st.integers(0, 50_000), st.integers(1, 999))
def test_a_layout_covers_its_file_once(num_bytes: int, piece_bytes: int) -> None:
    layout = Layout(num_bytes, piece_bytes)
    spans = [(layout.start(i), layout.end(i)) for i in range(layout.num_pieces)]
    assert sum(end - start for start, end in spans) == num_bytes
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(0 < layout.size(i) <= piece_bytes for i in range(layout.num_pieces))


OPERATIONS = st.lists(st.tuples(st.sampled_from(["take", "arrive", "miss", "return"]), st.integers(0, 19), st.integers(1, 6)))


@given(OPERATIONS)
def test_bookkeeping(operations: list[tuple[str, int, int]]) -> None:
    layout = Layout(19 * 10 + 3, 10)
    pieces, plain = Pieces(layout), ["missing"] * 20
    runs: list[range] = []
    for what, piece, length in operations:
        match what:
            case "take":
                run = pieces.take(length)
                first = next((i for i, state in enumerate(plain) if state == "missing"), None)
                assert (run.start if run else None) == first
                assert all(plain[i] == "missing" for i in run)
                plain[run.start : run.stop] = ["taken"] * len(run)
                runs += [run] if run else []
            case "arrive":
                pieces.arrived(piece)
                plain[piece] = "here"
            case "miss":
                pieces.miss(piece)
                plain[piece] = "missing"
            case "return" if runs:
                run = runs.pop()
                pieces.give_back(run)
                plain = ["missing" if i in run and state == "taken" else state for i, state in enumerate(plain)]
        here = [i for i, state in enumerate(plain) if state == "here"]
        assert pieces.num_missing == plain.count("missing")
        assert (pieces.num_here, pieces.here_bytes) == (len(here), sum(layout.size(i) for i in here))
        assert pieces.complete == (len(here) == 20)
        assert pieces.prefix(0) == next((i for i, state in enumerate(plain) if state != "here"), 20)


def test_an_empty_file_is_whole() -> None:
    pieces = Pieces(Layout(0))
    assert pieces.complete
    assert not pieces.take(4)
