"""Remote write over HTTP: its requests and its answers."""
