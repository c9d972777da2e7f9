"""The OpenAI dialect: models, completions and chat completions, with the extra fields of vLLM and its kin."""
