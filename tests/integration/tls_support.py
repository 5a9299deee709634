"""TLS in front of real servers: certificates made for the test, and a proxy that ends TLS before a plain port.

The embedded server's program is built without TLS, so the proxy stands where ``stunnel`` would in production.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HANDSHAKE: Final = b"\x16"
"""The first byte of a TLS connection."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a directory of its own."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @classmethod
    def found(cls, directory: Path) -> Authority:
        """Make one."""
        directory.mkdir(parents=True)
        made = cls(directory)
        made._openssl("req", "-x509", *made._new_key("ca"), "-days", "30", "-subj", "/CN=Test CA", "-out", made.ca)
        return made

    def sign(self, name: str, names: str = "DNS:localhost", *, days: int = 30) -> tuple[Path, Path]:
        """A certificate for ``names`` and its key; ``days`` -1: it expired yesterday."""
        request, cert = self.directory / f"{name}.csr", self.directory / f"{name}.pem"
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        self._openssl("req", *self._new_key(name), "-subj", f"/CN={name}", "-out", request)
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.directory / "ca.key", "-CAcreateserial"),
            *("-extfile", extensions, "-days", str(days), "-out", cert),
        )
        return cert, self.directory / f"{name}.key"

    def encrypted(self, key: Path) -> Path:
        """The same key under a password."""
        locked = key.with_suffix(".locked")
        self._openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
        return locked

    def _new_key(self, name: str) -> tuple[str | Path, ...]:
        return (
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", self.directory / f"{name}.key"),
        )

    def _openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def server_context(self, *, names: str = "DNS:localhost", days: int = 30, ask: bool = False) -> ssl.SSLContext:
        """What a server shows; ``ask``: it wants a certificate of this authority from its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign("server", names, days=days))
        if ask:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@asynccontextmanager
async def tls_front(port: int, target: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Listen on 127.0.0.1:``port`` and pass on to ``target``, with TLS and, for other servers, without."""
    loop = asyncio.get_running_loop()
    handlers: set[asyncio.Task[None]] = set()
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)

        async def accept() -> None:
            while True:
                client, _ = await loop.sock_accept(listener)
                handler = loop.create_task(_pass_on(client, target, context))
                handlers.add(handler)
                handler.add_done_callback(handlers.discard)

        accepting = loop.create_task(accept())
        try:
            yield
        finally:
            tasks = [accepting, *handlers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(client: socket.socket, target: int, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(client, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(client)
    with suppress(OSError):  # a client that refuses the certificate, among others
        secure = client.recv(1, socket.MSG_PEEK) == _HANDSHAKE
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, client, ssl=context if secure else None)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", target)
            try:
                await asyncio.wait(
                    [loop.create_task(_pump(reader, forth)), loop.create_task(_pump(back, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                forth.close()
        finally:
            writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
