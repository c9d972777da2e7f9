"""PyTorch's pickles of weights, turned into safetensors without running anything that is in them. No torch."""
