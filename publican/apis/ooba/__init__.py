"""The API of text-generation-webui as it was in 2023: blocking over HTTP, streaming over websockets."""

from publican.apis.ooba.errors import OOBA
from publican.apis.ooba.routes import routes
from publican.apis.ooba.streams import sockets

__all__ = ["OOBA", "routes", "sockets"]
