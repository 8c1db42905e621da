"""The proxy of the torture chamber: forwards, holds back, delays, breaks and half breaks, and heals."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from locum.tests.torture.proxy import Network, Proxy

SOON_S = 0.15
BOUND_S = 10.0


class Echo:
    """A server that answers what it hears, in capitals, and keeps it."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.heard = bytearray()
        self.ends: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one = self.listening.accept()[0]
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        try:
            while piece := one.recv(65536):
                self.heard += piece
                one.sendall(piece.upper())
            self.ends.append("closed")
        except OSError:
            self.ends.append("broken")
        one.close()

    def until(self, heard: bytes) -> None:
        wait(lambda: bytes(self.heard) == heard)


def wait(true: object) -> None:
    end = time.monotonic() + BOUND_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.listening.close()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as one:
        yield one


def client(proxy: Proxy, which: int = 0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.ports[which]), timeout=BOUND_S)


def said(one: socket.socket, text: bytes) -> bytes:
    one.sendall(text)
    return heard(one, len(text))


def heard(one: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = one.recv(size - len(got))
        assert piece, "closed"
        got += piece
    return got


def silent(one: socket.socket) -> bool:
    one.settimeout(SOON_S)
    try:
        one.recv(1)
    except TimeoutError:
        return True
    finally:
        one.settimeout(BOUND_S)
    return False


def test_it_forwards_much_both_ways_and_the_ends(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        much = b"abc" * 400_000
        threading.Thread(target=one.sendall, args=(much,)).start()
        assert heard(one, len(much)) == much.upper()
        assert proxy.connections == 1
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
    wait(lambda: echo.ends == ["closed"] and not proxy.connections)


def test_each_target_has_a_port(network: Network, echo: Echo) -> None:
    other = Echo()
    proxy = network.proxy([echo.port, other.port])
    with client(proxy, 1) as one:
        assert said(one, b"x") == b"X"
    assert (bytes(echo.heard), bytes(other.heard)) == (b"", b"x")
    other.listening.close()


def test_what_is_held_arrives_later_even_if_its_sender_has_given_up(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    one = client(proxy)
    assert said(one, b"a") == b"A"
    proxy.hold()
    one.sendall(b"commit")
    assert silent(one) and echo.heard == b"a"
    one.close()
    proxy.heal()
    echo.until(b"acommit")
    wait(lambda: echo.ends == ["closed"] or echo.ends == ["broken"])


def test_held_one_way_the_other_way_is_open(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        assert said(one, b"a") == b"A"
        proxy.hold("to-client")
        one.sendall(b"b")
        echo.until(b"ab")
        assert silent(one)
        proxy.heal()
        assert heard(one, 1) == b"B"
        proxy.hold("to-server")
        one.sendall(b"c")
        assert silent(one) and echo.heard == b"ab"
        proxy.heal()
        assert heard(one, 1) == b"C"


def test_a_new_connection_hangs_while_it_is_held(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    proxy.hold()
    with client(proxy) as one:
        one.sendall(b"hello")
        assert silent(one) and not echo.heard
        proxy.heal()
        assert heard(one, 5) == b"HELLO"


def test_slowness_is_added_and_ends(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        assert said(one, b"a") == b"A"
        proxy.slow(0.1)
        began = time.monotonic()
        assert said(one, b"b") == b"B"
        assert time.monotonic() - began >= 0.2
        proxy.heal()
        began = time.monotonic()
        assert said(one, b"c") == b"C"
        assert time.monotonic() - began < 0.1


def test_a_reset_is_seen_at_both_ends_and_new_connections_work(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        assert said(one, b"a") == b"A"
        assert proxy.reset() == 1
        with pytest.raises(ConnectionError):
            while one.recv(1):
                pass
            raise AssertionError("closed politely")
        wait(lambda: echo.ends == ["broken"])
    with client(proxy) as one:
        assert said(one, b"b") == b"B"


def test_half_open_without_a_server_the_client_hears_nothing_until_it_is_healed(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        assert said(one, b"a") == b"A"
        assert proxy.half_open("server") == 1
        wait(lambda: echo.ends == ["broken"])
        one.sendall(b"lost")
        assert silent(one) and echo.heard == b"a"
        with client(proxy) as other:
            assert said(other, b"b") == b"B", "a new connection is whole"
        proxy.heal()
        with pytest.raises(ConnectionError):
            one.recv(1)


def test_half_open_without_a_client_the_server_hears_nothing_until_it_is_healed(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    with client(proxy) as one:
        assert said(one, b"a") == b"A"
        proxy.half_open("client")
        with pytest.raises(ConnectionError):
            one.recv(1)
        time.sleep(SOON_S)
        assert not echo.ends
        proxy.heal()
        wait(lambda: echo.ends == ["broken"])


def test_a_server_that_refuses_is_a_connection_that_breaks(network: Network, echo: Echo) -> None:
    proxy = network.proxy([echo.port])
    echo.listening.shutdown(socket.SHUT_RDWR)
    echo.listening.close()
    with pytest.raises(ConnectionError), client(proxy) as one:  # it may break before connect() has returned
        while one.recv(1):
            pass
        raise ConnectionError("closed")
    wait(lambda: not proxy.connections)


def test_nothing_is_left(echo: Echo) -> None:
    before = threading.active_count()
    with Network() as network:
        proxy = network.proxy([echo.port])
        one = client(proxy)
        assert said(one, b"a") == b"A"
        proxy.hold()
        another = client(proxy)
    for left in (one, another):
        with contextlib.suppress(ConnectionError):
            while left.recv(1):
                pass
        left.close()
    wait(lambda: threading.active_count() <= before)
