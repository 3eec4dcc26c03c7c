"""Promgres: Prometheus remote write into PostgreSQL, and exact aggregates back out of it."""
