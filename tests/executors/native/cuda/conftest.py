"""Where there is no NVIDIA card, Triton interprets the kernels: slowly, on the CPU, in the same arithmetic."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before a kernel is imported: Triton looks when it is decorated


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
