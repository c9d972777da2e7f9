"""torch computes on one thread here: matrices are tiny, and threads that wait for one another on a busy machine take a step
from a millisecond to a hundred."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)
