"""The API of text-generation-webui as it was in 2023: blocking over HTTP, streaming over websockets."""
