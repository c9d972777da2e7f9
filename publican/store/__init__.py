"""Finds, downloads, inspects and catalogues model files without loading them. Knows headers, never weights."""
