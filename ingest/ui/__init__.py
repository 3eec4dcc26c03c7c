"""The page at `/ui`, and what it asks that no other API answers."""
