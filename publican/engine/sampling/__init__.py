"""Which token comes next: one vectorised pipeline for every executor, and its plain one-row twin."""
