"""TabbyAPI's routes beside OpenAI's: the loaded model, tokens, what a key may do, downloads."""
