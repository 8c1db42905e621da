"""A network that breaks when it is told to: TCP proxies on loopback, one for each master, between it and its servers.

What is held back is not lost: as with real TCP it arrives when the network is whole again, even if its sender has given
up long ago. Every connection is made anew to the server, so what a proxy does to one, the other side learns only by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Literal

Way = Literal["to-server", "to-client"]
WAYS: tuple[Way, ...] = ("to-server", "to-client")
Side = Literal["server", "client"]
_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)
_CALL_S = 10.0


class Network:
    """The thread in which all proxies work. Use it as a context manager; its end closes every connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _close(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        # Some may just have been accepted, so that no proxy knows of them.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def proxy(self, targets: Sequence[int]) -> Proxy:
        """One for a master: a port of its own for each of the servers' ports on loopback."""
        proxy = Proxy(self, targets)
        self.call(proxy.open())
        self._proxies.append(proxy)
        return proxy

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in the network's thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)


class Proxy:
    """The way from one master to its servers. All that changes it may be called from any thread.

    ``ports`` are on loopback, in the order of the targets.
    """

    def __init__(self, network: Network, targets: Sequence[int]) -> None:
        self.ports: tuple[int, ...] = ()
        self._network = network
        self._targets = tuple(targets)
        self._servers: list[asyncio.Server] = []
        self._links: set[_Link] = set()
        self._open = {way: asyncio.Event() for way in WAYS}
        self._delay_s = 0.0

    # -- how it fails -------------------------------------------------------------------------------------------------

    def hold(self, *ways: Way) -> None:
        """Let nothing through on these ways (both, if none is named) until ``heal``. New connections hang, too."""
        self._do(lambda: [self._open[way].clear() for way in ways or WAYS])

    def slow(self, delay_s: float) -> None:
        """Each piece takes that much longer, on both ways."""

        def change() -> None:
            self._delay_s = delay_s

        self._do(change)

    def reset(self) -> int:
        """Break all connections, at both ends, now; new ones are welcome. How many there were."""

        def change() -> int:
            links = list(self._links)
            for link in links:
                link.reset("server", "client")
            return len(links)

        return int(self._do(change))

    def half_open(self, gone: Side) -> int:
        """One end of each connection goes away, and the other hears nothing at all until ``heal``. How many there were."""

        def change() -> int:
            links = list(self._links)
            for link in links:
                link.forget(gone)
            return len(links)

        return int(self._do(change))

    def heal(self) -> None:
        """Let everything through. What is half open learns now that it is broken."""

        def change() -> None:
            self._delay_s = 0.0
            for way in WAYS:
                self._open[way].set()
            for link in list(self._links):
                if link.forgotten:
                    link.reset("server", "client")

        self._do(change)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    def _do(self, change: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return change()

        return self._network.call(work())

    # -- in the network's thread --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to listen."""
        for way in WAYS:
            self._open[way].set()
        for target in self._targets:
            server = await asyncio.start_server(self._accepted(target), "127.0.0.1", 0, backlog=200)
            self._servers.append(server)
        self.ports = tuple(server.sockets[0].getsockname()[1] for server in self._servers)

    def close(self) -> None:
        """Listen no more, and break what is left."""
        for server in self._servers:
            server.close()
        for link in list(self._links):
            link.reset("server", "client")

    def _accepted(
        self, target: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = _Link(reader, writer)
            self._links.add(link)
            try:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await self._through("to-server")  # a request for a connection is held back like all else
                    await link.run(target, self._through)
            finally:
                link.reset("server", "client")
                self._links.discard(link)

        return serve

    async def _through(self, way: Way) -> None:
        """Returns when something may pass."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._open[way].wait()


class _Link:
    """One connection of a master, and the one that was made to the server for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.forgotten: set[Side] = set()
        self._ends: dict[Side, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {"client": (reader, writer)}
        self._broken = asyncio.Event()

    async def run(self, target: int, through: Callable[[Way], Coroutine[Any, Any, None]]) -> None:
        """Forward until both have said goodbye, or it is broken."""
        self._ends["server"] = await asyncio.open_connection("127.0.0.1", target)
        both = asyncio.gather(self._pump("client", "server", through), self._pump("server", "client", through))
        broken = asyncio.ensure_future(self._broken.wait())
        await asyncio.wait({both, broken}, return_when=asyncio.FIRST_COMPLETED)
        for future in (both, broken):
            future.cancel()
        await asyncio.gather(both, broken, return_exceptions=True)

    async def _pump(self, source: Side, sink: Side, through: Callable[[Way], Coroutine[Any, Any, None]]) -> None:
        way: Way = "to-server" if sink == "server" else "to-client"
        reader, writer = self._ends[source][0], self._ends[sink][1]
        try:
            while piece := await reader.read(_PIECE):
                await through(way)
                if not self.forgotten:
                    writer.write(piece)
                    await writer.drain()
            await through(way)
            if not self.forgotten:
                writer.write_eof()
        except OSError:
            await through(way)  # that it is broken takes its time to be known, too
            if not self.forgotten:
                self.reset("server", "client")
        if self.forgotten:
            await self._broken.wait()  # the other end is told nothing

    def forget(self, gone: Side) -> None:
        """``gone`` is gone; the other hears nothing."""
        self.forgotten.add(gone)
        self._abort(gone)

    def reset(self, *sides: Side) -> None:
        """These see their connection broken."""
        for side in sides:
            self._abort(side)
        if len(sides) == len(self._ends):
            self._broken.set()

    def _abort(self, side: Side) -> None:
        if side not in self._ends:
            return
        writer = self._ends[side][1]
        raw: socket.socket | None = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
