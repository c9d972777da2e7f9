"""One library for all CPUs: what a machine lacks is never executed.

Looked at three ways: the machine code outside each variant's own functions has no wide registers; no symbol of a variant can
stand in for a plain one; and an emulated CPU without AVX-512, and one without AVX, run what they can and refuse the rest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from publican.executors.native.cpu import compile as compiling
from publican.executors.native.cpu.library import load_library, supported_variants

X86 = compiling.architecture() == "x86_64" and sys.platform.startswith("linux")
LIBRARY = compiling.FOLDER / compiling.LIBRARY_NAME

DRIVE = """
import ctypes
library = ctypes.CDLL({library!r})
library.pcpu_variant_name.restype = ctypes.c_char_p
names = [library.pcpu_variant_name(i).decode() for i in range(library.pcpu_num_variants())]
print([n for i, n in enumerate(names) if library.pcpu_variant_supported(i)])
for name in names:
    engine = ctypes.c_void_p()
    error = library.pcpu_open(2, name.encode(), ctypes.byref(engine))
    if not error:
        values = (ctypes.c_float * 100)(*range(100))
        indices, best, found = (ctypes.c_int32 * 3)(), (ctypes.c_float * 3)(), ctypes.c_int32()
        top = library.pcpu_top
        top.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 3 + [ctypes.c_int] + [ctypes.c_void_p] * 3
        top(engine, values, 1, 100, 100, 3, indices, best, ctypes.byref(found))
        assert list(indices) == [99, 98, 97], list(indices)
        library.pcpu_close.argtypes = [ctypes.c_void_p]
        library.pcpu_close(engine)
    print(name, error)
"""


def test_the_best_variant_comes_first(library: Any) -> None:
    variants = supported_variants(library)
    assert variants[-1] == "portable"
    assert len(set(variants)) == len(variants)


@pytest.mark.skipif(not X86 or not shutil.which("objdump"), reason="needs objdump on x86-64")
def test_wide_registers_stay_in_their_variants(library: Any) -> None:
    """Functions of AVX-512 variants may use all; those of AVX2 variants no zmm; all others, which any CPU runs, no ymm either.

    A function's name has its variant's in it, and the C++ library that is linked in has none.
    """
    command = ["objdump", "-d", "--no-show-raw-insn", str(LIBRARY)]
    code = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found: dict[str, set[str]] = {"avx512": set(), "avx2": set(), "": set()}
    variant = ""
    for line in code.splitlines():
        if line.endswith(">:"):
            variant = next(name for name in found if name in line)
        found[variant].update(re.findall(r"%([yz]mm|k[1-7]\b)", line))
    assert found["avx512"] >= {"ymm", "zmm"}
    assert found["avx2"] == {"ymm"}
    assert found[""] == set()


@pytest.mark.skipif(not X86 or not shutil.which("nm"), reason="needs nm")
def test_no_symbol_of_a_variant_can_stand_in_for_a_plain_one(library: Any) -> None:
    """Weak symbols are merged across objects, and the linker may keep the one with the wrong instructions."""
    listed = subprocess.run(["nm", str(LIBRARY)], capture_output=True, text=True, check=True, timeout=120).stdout
    names = [line for line in listed.splitlines() if "avx" in line or "8portable" in line]
    shared = [line for line in names if not re.search(r" [tdrb] ", line)]
    assert len(names) > 100
    assert shared == []


@pytest.mark.skipif(not X86 or not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64")
@pytest.mark.parametrize(
    ("cpu", "expected"), [("Haswell", ["avx2", "portable"]), ("Nehalem", ["portable"]), ("Haswell,-fma", ["portable"])]
)
def test_an_emulated_cpu_never_sees_an_illegal_instruction(library: Any, cpu: str, expected: list[str]) -> None:
    program = DRIVE.format(library=str(LIBRARY))
    # -S and -I: as little of Python as possible, for emulation is slow.
    command = ["qemu-x86_64", "-cpu", cpu, sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[0] == str(expected)
    for line in lines[1:]:
        name, error = line.split()
        assert error == ("0" if name in expected else "4"), line


def test_forcing_what_is_not_there(library: Any) -> None:
    """`pcpu_open` checks the CPU for a named variant too."""
    for i in range(library.pcpu_num_variants()):
        name = library.pcpu_variant_name(i).decode()
        assert (name in supported_variants(library)) == bool(library.pcpu_variant_supported(i))
    assert library.pcpu_variant_name(-1) is None
    assert library.pcpu_variant_name(99) is None
    assert not library.pcpu_variant_supported(99)


def test_loading_what_is_not_the_library(tmp_path: Path) -> None:
    from publican.executors.native.cpu.library import LibraryMissing

    with pytest.raises(LibraryMissing, match="were not compiled"):
        load_library(tmp_path / "none.so")
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(LibraryMissing, match="cannot be loaded"):
        load_library(broken)
