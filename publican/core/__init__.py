"""The words of the house: frozen values, protocols and errors that every room may import.

Only the standard library. Nothing here does anything beyond checking itself, so no room can reach another through it.
"""
