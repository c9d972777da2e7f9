"""Run one planned step on some hardware and return logits. No sampling, no stopping, no queue."""
