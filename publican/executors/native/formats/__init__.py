"""How quantised weights lie on disk: one file per format, each turning a module's tensors into a `layout.Matrix`.

The first format of `FORMATS` that owns a module reads it, so a file may mix them (EXL2 layers and a dense embedding, say).
"""

from __future__ import annotations

from publican.executors.native.formats.awq import AWQ
from publican.executors.native.formats.compressed_tensors import COMPRESSED_TENSORS
from publican.executors.native.formats.dense import DENSE
from publican.executors.native.formats.exl2 import EXL2
from publican.executors.native.formats.exl3 import EXL3
from publican.executors.native.formats.format import Format
from publican.executors.native.formats.gguf import GGUF
from publican.executors.native.formats.gptq import GPTQ

GGUF_FORMATS: tuple[Format, ...] = (GGUF,)
HF_FORMATS: tuple[Format, ...] = (EXL2, EXL3, AWQ, GPTQ, COMPRESSED_TENSORS, DENSE)

__all__ = ["GGUF_FORMATS", "HF_FORMATS", "Format"]
