"""The formats of tool calls, one kind to a file, and the table of them all (`table`)."""
