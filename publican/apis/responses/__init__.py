"""OpenAI's Responses: one answer to a list of items, as items. Nothing is kept, so nothing can be gone back to."""
