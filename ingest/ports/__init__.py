"""The two ports: what is asked at which path, and the servers."""
