import pytest

from publican.core.errors import SettingsError
from publican.executors.llama import LlamaConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"context_len": -1},
        {"num_cells": 2**31},
        {"num_slots": 0},
        {"num_slots": 257},
        {"max_batch_tokens": 0},
        {"micro_batch_tokens": 0},
        {"max_logits": -3},
        {"num_threads": -1},
        {"gpu_layers": -2},
        {"tensor_split": (1.0, -1.0)},
        {"tensor_split": (float("nan"),)},
    ],
)
def test_a_setting_that_libllama_could_not_stand_is_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        LlamaConfig(**wrong)


def test_the_usual_settings_are_sound():
    assert LlamaConfig(num_slots=256, gpu_layers=-1, tensor_split=(3.0, 0.0)).num_slots == 256
