"""Devices: what is there, what they can do, and how much of them may be used. Asks torch; decides nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from publican.core.errors import SettingsError, UnsupportedModel
from publican.executors.native.cuda.config import CudaConfig, DtypeName

DTYPES: Mapping[str, torch.dtype] = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
    "q8": torch.int8,
    "q4": torch.uint8,
}
_OLDEST = (7, 5)  # Triton's own limit; Pascal (P40) and Volta are below it
_FIRST_WITH_BF16 = (8, 0)


def visible_devices() -> tuple[str, ...]:
    """Every NVIDIA device that torch sees.

    Raises:
        SettingsError: there is none, or torch was built without CUDA.
        UnsupportedModel: the first is too old for Triton.
    """
    if torch.version.cuda is None:
        raise SettingsError("This torch was built without CUDA; install the one for NVIDIA cards, or take the backend cpu.")
    if not torch.cuda.is_available():
        raise SettingsError("torch finds no NVIDIA card here; see what nvidia-smi says, or take the backend cpu.")
    capability = torch.cuda.get_device_capability(0)
    if capability < _OLDEST:
        raise UnsupportedModel(
            f"{torch.cuda.get_device_name(0)} is of compute capability {capability[0]}.{capability[1]}, and Triton needs "
            f"{_OLDEST[0]}.{_OLDEST[1]}; pull the model as GGUF and take the loader llama."
        )
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))


def card_or_cpu() -> CudaConfig:
    """The first NVIDIA card, or where there is none the plain twins on the CPU: for trying things out."""
    if torch.cuda.is_available():
        devices = visible_devices()[:1]
        return CudaConfig(devices, dtype=best_dtype(devices), kv_dtype=best_dtype(devices))
    return CudaConfig(("cpu",), kernels="torch")


def best_dtype(devices: Sequence[str]) -> DtypeName:
    """bfloat16 where the matrix units know it: hidden states of some models overflow float16."""
    capable = all(torch.cuda.get_device_capability(torch.device(name)) >= _FIRST_WITH_BF16 for name in devices)
    return "bf16" if capable else "f16"


def budgets(devices: Sequence[torch.device], config: CudaConfig, reserve_bytes: int) -> list[int]:
    """Bytes of each device that weights and cache may take.

    Args:
        reserve_bytes: what a device needs besides.
    """
    if config.budgets_gb:
        if len(config.budgets_gb) != len(devices):
            raise SettingsError(
                f"The split names {len(config.budgets_gb)} cards, and {len(devices)} are here; give one number for each."
            )
        return [int(budget * 2**30) for budget in config.budgets_gb]
    return [max(0, _free_bytes(device) - reserve_bytes) for device in devices]


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 1 << 62


def describe(devices: Sequence[torch.device], config: CudaConfig, more: str = "") -> str:
    """For people: ``cuda (NVIDIA GeForce RTX 4090 × 2, bf16)``."""
    names = [torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU" for device in devices]
    counted = [name if names.count(name) == 1 else f"{name} × {names.count(name)}" for name in dict.fromkeys(names)]
    how = "" if config.kernels == "triton" else ", plain torch"
    return f"cuda ({', '.join(counted)}, {config.dtype}{how}{more})"
