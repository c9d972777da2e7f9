"""llama.cpp's own routes beside OpenAI's: completions, tokens, infill, and what its server says of itself."""
