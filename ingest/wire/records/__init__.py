"""Measures and events as bytes: bodies, their headers, and how the spool keeps them."""
