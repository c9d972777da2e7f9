"""What a model's files are, told from what is in them: names, types and shapes of tensors first, configurations second."""
