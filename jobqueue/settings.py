"""Settings: read once from the environment (``JOBQUEUE_…``), validated, frozen.

Read at the composition roots (`jobqueue.worker`, `jobqueue.app`, the command) and nowhere else.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobqueue.errors import ConfigError

EMBEDDED = "embedded"


def _default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "jobqueue"


class Settings(BaseSettings):
    """Every setting of the product; the environment variable is the name in capitals after ``JOBQUEUE_``.

    The defaults run the whole product on one machine: an embedded Redis, SQLite, a directory, the offline provider.
    """

    model_config = SettingsConfigDict(env_prefix="JOBQUEUE_", frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=_default_data_dir)
    """Directory for everything kept on this machine; made with mode 0700."""

    redis_url: str = EMBEDDED
    """``embedded``, ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://h:p,h:p/service`` or
    ``redis+cluster://h:p,h:p``."""
    database_url: str = ""
    """SQLAlchemy async URL; empty: SQLite in the data directory."""
    storage_url: str = ""
    """``file:///path``; empty: ``blobs`` in the data directory."""
    queues_file: Path | None = None
    """Another ``queues.toml``."""
    llm_provider: Literal["offline"] = "offline"
    text_engine: Literal["pymupdf", "pypdfium2"] = "pymupdf"
    ocr_languages: str = "eng"

    lease_s: float = Field(default=10.0, ge=1.0, le=600.0)
    """How long a claimed job stays its worker's without a heartbeat; the bound on recovery after a crash."""
    grace_s: float = Field(default=20.0, ge=0.0, le=3600.0)
    """On SIGTERM, how long running jobs may still finish before they go back to the queue."""
    sandbox_processes: int = Field(default=2, ge=1, le=64)
    max_upload_bytes: int = Field(default=100_000_000, ge=1)
    max_pages: int = Field(default=2_000, ge=1)

    host: str = "127.0.0.1"
    port: int = Field(default=8484, ge=0, le=65_535)
    allowed_hosts: str = ""
    """Further host names (comma-separated) the server answers to, besides loopback names and ``host``."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    worker_name: str = Field(default_factory=socket.gethostname)
    api_key: SecretStr | None = None
    """For the commands that talk to a server."""
    server_url: str = ""
    """For the commands that talk to a server; empty: the local one."""

    @field_validator("data_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        schemes = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://", "redis+cluster://",
                   "rediss+cluster://")  # fmt: skip
        if value != EMBEDDED and not value.startswith(schemes):
            raise ValueError(f"must be 'embedded' or start with one of {', '.join(schemes)}")
        return value

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite+aiosqlite:///{self.data_dir / 'jobqueue.db'}")
        if not self.storage_url:
            object.__setattr__(self, "storage_url", (self.data_dir / "blobs").as_uri())
        return self

    @property
    def temp_dir(self) -> Path:
        """Where half-made files live; emptied of old ones by the ``expire`` job."""
        return self.data_dir / "tmp"


def load(**overrides: object) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: a variable is wrong; names each one with the reason.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as exc:
        reasons = "; ".join(
            f"JOBQUEUE_{str(error['loc'][0]).upper() if error['loc'] else '*'}: {error['msg']}"
            for error in exc.errors()
        )
        raise ConfigError(f"settings are wrong: {reasons}") from exc
