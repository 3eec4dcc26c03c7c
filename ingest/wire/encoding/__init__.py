"""Compression of bodies, with every length checked before memory is taken."""
