"""A link to a server with the delay of a distance, for benchmarks: a relay on loopback through which every byte comes late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def far_away(url: str, *, round_trip: float) -> Iterator[str]:
    """The address of a relay to the server at `url`: each exchange of a request and its answer takes one round trip more.

    `round_trip` in seconds. Bytes are not slowed down otherwise: they follow each other as fast as they come. Opening a
    connection costs nothing: the emulator closes each one after its answer, where a real server keeps it open.
    """
    relay = Relay(urlsplit(url).port or 80, round_trip / 2)
    thread = threading.Thread(target=relay.run, name="relay", daemon=True)
    thread.start()
    relay.ready.wait()
    try:
        yield f"http://127.0.0.1:{relay.port}"
    finally:
        relay.loop.call_soon_threadsafe(relay.stop)
        thread.join()


class Relay:
    """Hands on bytes between clients and one port of this machine, each `delay` seconds late."""

    def __init__(self, goal: int, delay: float) -> None:
        self.goal, self.delay = goal, delay
        self.port = 0
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.stopped = asyncio.Event()

    def run(self) -> None:
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    def stop(self) -> None:
        self.stopped.set()

    async def serve(self) -> None:
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stopped.wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self.goal)
        with suppress(asyncio.CancelledError):  # the relay ends: asyncio would tell of it on stderr
            await asyncio.gather(self.carry(reader, to_write), self.carry(to_read, writer))

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction of one connection: read at once, write when it is time."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - self.loop.time()))
                if not data:
                    break
                sink.write(data)
                await sink.drain()
            sink.close()

        delivery = asyncio.create_task(deliver())
        try:
            while data := await source.read(1 << 16):
                late.put_nowait((self.loop.time() + self.delay, data))
        except OSError:
            pass  # reset: the other side gets the end of it
        late.put_nowait((self.loop.time() + self.delay, b""))
        await asyncio.gather(delivery, return_exceptions=True)
