"""Raw samples as files: `GET /export`."""
