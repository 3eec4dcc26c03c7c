"""A TCP proxy between the write side and its database that fails as networks do.

It runs in a thread of its own; every method may be called from the test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 16 * 1024


class Proxy:
    """Passes bytes on until told otherwise; see `running_proxy`.

    Attributes:
        port: where it listens on 127.0.0.1.
        cuts: connections it has cut so far.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.cuts = 0
        self._target_port = target_port
        self._links: set[_Link] = set()
        self._is_frozen = False
        self._arms: list[tuple[int, bytes]] = []
        self._forbidden: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def cut_all(self) -> int:
        """Reset every connection, now; how many there were."""
        before = self.cuts
        self._call(lambda: [link.cut() for link in list(self._links)])
        return self.cuts - before

    def cut_upload_after(self, count: int) -> None:
        """Reset the next connection that sends so many bytes in one stretch, without an answer in
        between: in the middle of a COPY."""
        self._call(lambda: self._arms.append((count, b"")))

    def cut_answer_to(self, words: bytes) -> None:
        """Hand these words to the server and reset the connection instead of its answer."""
        self._call(lambda: self._arms.append((0, words)))

    def cut_upload_of(self, words: bytes) -> None:
        """Reset every connection that sends these words, as a server does that cannot take them."""
        self._call(lambda: self._forbidden.append(words))

    @property
    def is_armed(self) -> bool:
        """Whether a cut that was asked for is still to come."""
        return bool(self._arms)

    def freeze(self) -> None:
        """Nothing gets through any more, and nobody is told; new connections are taken."""
        self._call(lambda: self._set_frozen(True))

    def thaw(self, forget: bool) -> None:
        """Let new connections through again, and the old ones unless they are forgotten.

        Those stay silent for ever, as behind a firewall that has lost its table, but where the
        client is gone the server gets a reset: its next keepalive probe brings that.
        """
        self._call(lambda: self._set_frozen(False, forget))

    def close(self) -> None:
        """End it, and every connection."""
        self.cut_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pass_on(self, link: _Link, data: bytes, stretch: int) -> bool:
        """Whether bytes from the client may go on; else the link is to be cut."""
        if any(words in data for words in self._forbidden):
            return False
        for arm in self._arms:
            count, words = arm
            if count and stretch >= count:
                self._arms.remove(arm)
                return False
            if words and words in data:
                self._arms.remove(arm)
                link.is_doomed = True
        return True

    def forget(self, link: _Link) -> None:
        """A link has ended."""
        self._links.discard(link)

    def _set_frozen(self, is_frozen: bool, forget: bool = False) -> None:
        self._is_frozen = is_frozen
        for link in list(self._links):
            if is_frozen:
                link.gate.clear()
            elif not forget:
                link.gate.set()
            elif link.is_client_gone:
                link.cut()

    def _call(self, work: Callable[[], object]) -> None:
        done = threading.Event()

        def do() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(do)
        done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer)
        self._links.add(link)
        if self._is_frozen:
            link.gate.clear()
        with suppress(asyncio.CancelledError):  # asyncio would log it
            await link.run(reader, self._target_port)


class _Link:
    """One connection and its other half."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_doomed = False
        self.is_client_gone = False
        self._proxy = proxy
        self._writers = [client]
        self._stretch = 0

    async def run(self, reader: asyncio.StreamReader, port: int) -> None:
        await self.gate.wait()
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.cut()
            return
        self._writers.append(server)
        uploaded: asyncio.Queue[bytes] = asyncio.Queue()
        await asyncio.gather(
            self._listen(reader, uploaded),
            self._upload(uploaded, server),
            self._download(answers, self._writers[0]),
        )
        self.cut(counts=False)

    def cut(self, counts: bool = True) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._proxy.cuts += counts
        self._proxy.forget(self)

    async def _listen(self, reader: asyncio.StreamReader, uploaded: asyncio.Queue[bytes]) -> None:
        """Hear what the client says, whether it gets through or not."""
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                uploaded.put_nowait(data)
        self.is_client_gone = True
        uploaded.put_nowait(b"")

    async def _upload(self, uploaded: asyncio.Queue[bytes], server: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await uploaded.get():
                await self.gate.wait()
                self._stretch += len(data)
                if not self._proxy.pass_on(self, data, self._stretch):
                    self.cut()
                    return
                server.write(data)
                await server.drain()
            await self.gate.wait()
            server.close()

    async def _download(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await answers.read(CHUNK_BYTES):
                await self.gate.wait()
                self._stretch = 0
                if self.is_doomed:
                    self.cut()
                    return
                client.write(data)
                await client.drain()
            await self.gate.wait()
            client.close()


@contextmanager
def running_proxy(target_port: int) -> Iterator[Proxy]:
    """A proxy to a port of 127.0.0.1."""
    proxy = Proxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
