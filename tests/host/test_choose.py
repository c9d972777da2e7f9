from dataclasses import replace

import pytest

from publican.core.errors import SettingsError, UnsupportedModel
from publican.host.choose import Available, choose

ALL = Available(cuda=True, cpu=True, llama=True, native_objection=None, is_gguf=True)
CPU = replace(ALL, cuda=False)


@pytest.mark.parametrize(
    ("loader", "backend", "here", "chosen"),
    [
        ("auto", "auto", ALL, ("native", "cuda")),
        ("auto", "auto", CPU, ("native", "cpu")),
        ("auto", "plain", CPU, ("native", "plain")),
        ("auto", "auto", replace(CPU, cpu=False), ("llama", "auto")),
        ("auto", "auto", replace(CPU, cpu=False, is_gguf=False), ("native", "plain")),
        ("auto", "auto", replace(CPU, cpu=False, llama=False), ("native", "plain")),
        ("auto", "auto", replace(CPU, native_objection="no"), ("llama", "auto")),
        ("llama", "auto", ALL, ("llama", "auto")),
        ("native", "auto", CPU, ("native", "cpu")),
    ],
)
def test_choices(loader, backend, here, chosen):
    it = choose(loader, backend, here)
    assert (it.loader, it.backend) == chosen
    assert it.why


@pytest.mark.parametrize(
    ("loader", "backend", "here", "error"),
    [
        ("llama", "auto", replace(ALL, llama=False), SettingsError),
        ("llama", "auto", replace(ALL, is_gguf=False), UnsupportedModel),
        ("native", "auto", replace(ALL, native_objection="It is a mamba."), UnsupportedModel),
        ("native", "cuda", CPU, SettingsError),
        ("auto", "cpu", replace(CPU, cpu=False), SettingsError),
        ("auto", "auto", replace(ALL, native_objection="It is a mamba.", llama=False), UnsupportedModel),
        ("auto", "auto", replace(ALL, native_objection="It is a mamba.", is_gguf=False), UnsupportedModel),
    ],
)
def test_refusals(loader, backend, here, error):
    with pytest.raises(error):
        choose(loader, backend, here)
