import os
import subprocess
import sys

import pytest

from publican.core.errors import UnsupportedModel
from publican.executors.llama import load
from publican.executors.llama.library import load_library, set_fields


def test_importing_the_room_imports_no_library():
    code = "import sys, publican.executors.llama; sys.exit('llama_cpp' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_without_the_extra_it_says_how_to_get_it(monkeypatch, tiny_models):
    for name in [name for name in sys.modules if name.partition(".")[0] == "llama_cpp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnsupportedModel, match=r"pip install 'publican\[llama\]'"):
        load(tiny_models["llama"])


def test_a_library_that_does_not_load_says_why(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "llama_cpp"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "llama_cpp.py").write_text("raise RuntimeError('GLIBC_2.99 not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnsupportedModel, match=r"GLIBC_2\.99 not found"):
        load_library()


def threads_as_loaded(**environ: str) -> str:
    """What GNU's OpenMP says of its settings as it is loaded."""
    code = "import os; from publican.executors.llama.library import load_library; load_library(); print(*os.environ)"
    environ = {"OMP_DISPLAY_ENV": "verbose", "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=120)
    assert ("GOMP_SPINCOUNT" in done.stdout.split()) == ("GOMP_SPINCOUNT" in environ)
    return done.stderr


def test_threads_that_wait_do_not_spin_for_long():
    said = threads_as_loaded()
    if "GOMP_SPINCOUNT" not in said:
        pytest.skip("this libllama has no threads of GNU's OpenMP")
    assert "GOMP_SPINCOUNT = '1000'" in said
    assert "GOMP_SPINCOUNT = '7'" in threads_as_loaded(GOMP_SPINCOUNT="7")
    assert "GOMP_SPINCOUNT = '0'" in threads_as_loaded(OMP_WAIT_POLICY="passive")


def test_a_field_that_this_version_lacks_is_not_set_in_silence():
    parameters = load_library().llama_context_default_params()
    set_fields(parameters, n_ctx=7)
    assert parameters.n_ctx == 7
    with pytest.raises(UnsupportedModel, match="n_of_the_future"):
        set_fields(parameters, n_of_the_future=1)
