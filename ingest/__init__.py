"""Promgres: Prometheus remote write into PostgreSQL, and exact aggregates back out of it."""

from importlib.metadata import version

__version__ = version("promgres")
