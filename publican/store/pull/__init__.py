"""Pulling: which files of a repository are a model, which of them to take, and where they go."""
