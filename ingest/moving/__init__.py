"""`promgres import`: history of other systems, written the way of every sample."""
