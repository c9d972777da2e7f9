"""publican hosts language models for one person and their friends."""

__version__ = "0.1.0"
