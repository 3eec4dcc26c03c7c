"""A way to PostgreSQL that can fall silent, as a host does whose power fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit


class SilentServer:
    """Passes bytes on, until it meets the message that it was told to fall silent at.

    The connection of that message stays open and is never answered; new ones are.

    Args:
        url: of the database behind it, by Unix socket.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._path = parts.path
        self.silent_at: bytes | None = None
        self.fell_silent = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The URL to connect with."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{port}{self._path}"
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self._socket)
        passing = asyncio.create_task(_pass_on(answers, writer))
        try:
            while data := await reader.read(65536):
                if self.silent_at is not None and self.silent_at in data:
                    self.silent_at = None
                    passing.cancel()
                    self.fell_silent.set()
                    await reader.read()  # until the client gives up
                    break
                questions.write(data)
        except ConnectionError:
            pass
        finally:
            questions.close()
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
