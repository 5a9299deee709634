"""Where the commands of one machine find each other: small files in the data directory."""

from __future__ import annotations

from pathlib import Path

from jobqueue.settings import Settings


def key_file(config: Settings) -> Path:
    """The API key of this machine's commands."""
    return config.data_dir / "api-key"


def address_file(config: Settings) -> Path:
    """Where the running server listens."""
    return config.data_dir / "server-url"


def log_dir(config: Settings) -> Path:
    """The logs of workers and server: JSON objects, one a line."""
    return config.data_dir / "logs"
