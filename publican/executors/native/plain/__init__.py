"""The plain backend: every operation as NumPy in float32, as readable as a textbook.

It runs wherever NumPy does, and is the twin that every fast backend is tested against. Weights are dequantised when they
are loaded, so a model takes four bytes per parameter, whatever its file has.
"""

from publican.executors.native.plain.backend import PlainBackend, make_backend

__all__ = ["PlainBackend", "make_backend"]
