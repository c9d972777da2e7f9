"""What a model is, from its headers alone, here or at the hub."""
