"""Which device gets which layer."""

from __future__ import annotations

import pytest

from publican.core.errors import OutOfMemory
from publican.executors.native.cuda.placement import Placement


def place(budgets: list[int], num_layers: int, layer_bytes: int, cache_bytes: int, is_strict: bool) -> list[int]:
    placement, found = Placement(budgets, [cache_bytes] * num_layers, is_strict), []
    for layer in range(num_layers):
        found.append(placement.open_layer(layer_bytes if layer else 0))
        placement.take(layer_bytes)
    return found


def test_a_device_is_filled_before_the_next_one() -> None:
    assert place([35, 1000], 6, 8, 2, True) == [0, 0, 0, 1, 1, 1]
    assert place([1000, 1000], 4, 8, 2, True) == [0, 0, 0, 0]


def test_a_device_that_is_full_already_is_passed_over() -> None:
    assert place([1, 5, 1000], 2, 8, 2, True) == [1, 2]


def test_layers_with_little_to_keep_leave_room_for_more() -> None:
    """Of six layers every third keeps a whole context."""
    placement = Placement([40, 1000], [2, 2, 20] * 2, True)
    assert [placement.open_layer(4) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert placement.used == [28, 20]


def test_what_a_person_gave_is_not_exceeded() -> None:
    with pytest.raises(OutOfMemory, match="does not fit"):
        place([25, 25], 8, 8, 2, True)


def test_where_nobody_said_the_last_device_takes_the_rest() -> None:
    assert place([25, 25], 6, 8, 2, False) == [0, 0, 1, 1, 1, 1]
