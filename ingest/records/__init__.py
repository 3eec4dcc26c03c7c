"""Records, which are measures and events, over HTTP: written at both ports, read at both."""
