"""Decides, samples and commits tokens for many requests on one thread.

Three beats: `scheduler` plans a step, an executor computes it, `engine` commits what was sampled. Nothing here knows
HTTP, files, templates or hardware, and only `sampling` and `grammar` touch arrays.
"""
