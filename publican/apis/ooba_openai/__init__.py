"""The API of text-generation-webui as it is today, beside OpenAI's routes: ``/v1/internal``, about tokens and models."""
