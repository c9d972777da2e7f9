"""Turns a model name into a running `Backend`: choose, fit, start the worker, template, tokenise, swap, unload."""
