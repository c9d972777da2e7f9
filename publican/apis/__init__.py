"""Translates each wire dialect to `core` and back, and nothing else. The sole home of the web framework.

`app.create_app` makes the server's ASGI application, `serving.uvicorn_config` says how to run it. A dialect is a folder:
see docs/add-a-dialect.md.
"""
