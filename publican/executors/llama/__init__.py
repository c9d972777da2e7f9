"""libllama behind the `Executor` seam: every GGUF architecture there is, and layers on a GPU where its build has one.

It comes through the low-level module of llama-cpp-python, an optional extra, which is imported by `load` and not before.
`LlamaConfig`, `load` and `load_encoder` are all that a host needs.
"""

from publican.executors.llama.config import LlamaConfig
from publican.executors.llama.load import load, load_encoder

__all__ = ["LlamaConfig", "load", "load_encoder"]
