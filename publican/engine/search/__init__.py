"""Ways to choose several tokens together: beam search and contrastive search."""
