"""A Backend around a Backend: who may ask, and (to come) how much, in what order, and what was used."""
