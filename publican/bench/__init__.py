"""Loads a server or an executor with work and says honestly what came of it.

    serve      a URL: any server with OpenAI's API, this one or another
    engine     an executor, alone and with the engine around it
    compare    two reports of the same kind

Knows no commands and no settings: a config goes in, a report comes out.
"""
