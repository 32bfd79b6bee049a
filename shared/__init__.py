"""What the services share. Knows no service."""

VERSION = "0.1.0"  # pyproject.toml reads it from here
