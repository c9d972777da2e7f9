"""Downloads that lose nothing: pieces, a journal beside each file, and a hash at the end."""
