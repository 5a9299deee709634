"""Settings: read once from the environment (``JOBQUEUE_…``), validated, frozen.

Read at the composition roots (`jobqueue.worker`, `jobqueue.app`, the command) and nowhere else.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobqueue.errors import ConfigError

EMBEDDED = "embedded"


def _default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "jobqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What TLS to Redis needs beyond the system's own certificate authorities, as PEM files.

    Attributes:
        ca: certificates of the authorities that sign the servers'; None: the system's.
        cert, key: what this side shows a server that asks for a certificate.
        check_hostname: the server's certificate must be made out to the host of the URL.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    check_hostname: bool = True


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
    redis_ca_file: Path | None = None
    """For ``rediss``: certificates of the authority that signed the server's (PEM); not set: the system's."""
    redis_cert_file: Path | None = None
    """For ``rediss`` to a server that asks for one: the client's certificate (PEM), with its key beside it."""
    redis_key_file: Path | None = None
    redis_check_hostname: bool = True
    """Whether the server's certificate must be made out to the host of the URL."""
    durable: Literal["off", "disk", "replica"] = "off"
    """When a write of the queue counts as done: once Redis has it, once it is on its disk, once a replica has it."""
    durable_replicas: int = Field(default=1, ge=1, le=100)
    """How many replicas, for ``replica``."""
    database_url: str = ""
    """SQLAlchemy async URL; empty: SQLite in the data directory."""
    storage_url: str = ""
    """``file:///path``; empty: ``blobs`` in the data directory."""
    queues_file: Path | None = None
    """Another ``queues.toml``."""
    llm_provider: Literal["offline"] = "offline"
    virus_scan: Literal["off", "if_available", "required"] = "if_available"
    """Whether clamd looks at files: never, as long as it answers, or at every file, whose ingest fails without it."""
    clamd_url: str = ""
    """``unix:///run/clamav/clamd.ctl`` or ``tcp://host:3310``; empty: there is none."""
    clamd_max_bytes: int = Field(default=104_857_600, ge=1)
    """The lower one of clamd's ``StreamMaxLength`` and ``MaxFileSize`` (100 MiB by default); larger files, or archives
    with larger members, are refused."""
    clamd_max_age_days: int = Field(default=7, ge=0)
    """From which age on clamd's signatures count as unwell; 0: its own signatures, which have no date, will do."""
    secret_key: SecretStr | None = Field(default=None, min_length=32)
    """Seals the passwords of protected files on their way to a worker: a random text of 32 characters or more, the same
    for the server and all workers. Not set, one is made and kept in the data directory for the embedded Redis; with any
    other, the server takes no passwords."""
    signature_roots_file: Path | None = None
    """Certificates (PEM) of the authorities whose signatures in PDFs are trusted; not set: none is said to be, and
    signatures are checked for changes alone. Nothing is ever fetched from a network."""
    text_engine: Literal["pymupdf", "pypdfium2"] = "pymupdf"
    ocr_engine: Literal["auto", "tesserocr", "tesseract"] = "auto"
    """What recognises print: Tesseract as a library (needs the package of that name), as a program, or the fastest
    that is installed."""
    ocr_languages: str = "auto"
    """Tesseract's codes, joined by ``+``; ``auto``: what each page is in, of those installed."""
    ocr_cache_days: int = Field(default=30, ge=0, le=3_650)
    """How long the text of pages is kept for the next time that the tenant has the same bytes read; 0: not at all."""

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

    @field_validator("redis_ca_file")
    @classmethod
    def _certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=value)
            except (OSError, ssl.SSLError) as exc:
                raise ValueError(f"{value} can't be read as certificates in PEM form: {exc}") from exc
        return value

    @field_validator("signature_roots_file")
    @classmethod
    def _roots(cls, value: Path | None) -> Path | None:
        return cls._certificates(value)

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        cert, key = self.redis_cert_file, self.redis_key_file
        if (cert is None) != (key is None):
            raise ValueError("JOBQUEUE_REDIS_CERT_FILE and JOBQUEUE_REDIS_KEY_FILE go together: set both or neither")
        if cert is not None:
            try:
                ssl.create_default_context().load_cert_chain(cert, key, password=_no_password)
            except (OSError, ValueError) as exc:
                reason = f"JOBQUEUE_REDIS_CERT_FILE={cert} and JOBQUEUE_REDIS_KEY_FILE={key}"
                raise ValueError(f"{reason} can't be used as a certificate and its key in PEM form: {exc}") from exc
        return self

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite+aiosqlite:///{self.data_dir / 'jobqueue.db'}")
        if not self.storage_url:
            object.__setattr__(self, "storage_url", (self.data_dir / "blobs").as_uri())
        if self.redis_url == EMBEDDED and self.durable == "replica":
            raise ValueError("JOBQUEUE_DURABLE=replica: the embedded Redis has no replicas; use 'disk'")
        if self.virus_scan == "required" and not self.clamd_url:
            raise ValueError("JOBQUEUE_VIRUS_SCAN=required: set JOBQUEUE_CLAMD_URL to unix:///… or tcp://host:3310")
        return self

    @property
    def redis_tls(self) -> TlsFiles:
        """The files for ``rediss``."""
        return TlsFiles(
            ca=self.redis_ca_file, cert=self.redis_cert_file, key=self.redis_key_file,
            check_hostname=self.redis_check_hostname,
        )  # fmt: skip

    @property
    def temp_dir(self) -> Path:
        """Where half-made files live; emptied of old ones by the ``expire`` job."""
        return self.data_dir / "tmp"


def _no_password() -> str:
    # Without this, OpenSSL asks on the terminal.
    raise ValueError("the key is encrypted: store it without a password, readable by this user alone")


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
