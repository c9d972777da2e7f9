"""The OpenAI dialect: models, completions and chat completions, with the extra fields of vLLM and its kin."""

from publican.apis.openai.errors import OPENAI
from publican.apis.openai.routes import routes

__all__ = ["OPENAI", "routes"]
