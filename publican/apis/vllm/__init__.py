"""vLLM's own routes beside OpenAI's: tokens, its version, and the ``/generate`` of its first server."""
