"""Prometheus' own HTTP API, on the read port: its requests and its answers."""
