"""Whose request it is, and what its key allows."""
