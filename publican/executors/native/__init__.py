"""publican's own engine: one description of a model, three backends that run it.

    formats  → layout      every quantised format becomes one layout
    families → program     a model becomes a list of operations, once, when it is loaded
    batch                  a plan becomes arrays, once per step
    plain | cpu | cuda     run the operations on the arrays

Everything but the backends is NumPy, and shared. Imports nothing beyond NumPy until a backend needs it.
"""
