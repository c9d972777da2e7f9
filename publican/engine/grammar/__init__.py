"""Answers that follow a grammar: JSON schemas, regular expressions, choices, GBNF, EBNF and Lark, through llguidance."""
