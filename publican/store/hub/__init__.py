"""The hub's side of things: what a model is called there, which files a commit has, and their headers."""
