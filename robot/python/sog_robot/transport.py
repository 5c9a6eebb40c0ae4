"""Where packets come from and go to: UDP and serial lines.

:func:`listen` opens the address of a robot, :func:`connect` that of a controller; both are written
as ``sog-run --robot`` takes them: ``udp://HOST:PORT`` or ``serial:///dev/DEVICE?baud=N``.
"""

from __future__ import annotations

import os
import select
import socket
import termios
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from . import wire

#: Bits per second where an address says nothing else.
DEFAULT_BAUD = 921_600

#: Packets looked at in one go: a flood of what is for nobody must not hold up the watchdog.
_MOST_AT_ONCE = 64

_Self = TypeVar("_Self", bound="_Closing")


class Closed(ConnectionError):
    """The line is gone."""


class Transport(Protocol):
    """A line that carries packets; any may be lost, damaged, repeated or out of order."""

    def send(self, packet: bytes) -> None:
        """Sends a packet; OSError if it cannot be sent."""

    def receive(self, timeout_s: float) -> bytes | None:
        """Waits at most so long for a packet; :class:`Closed` when there can be none.

        None may come sooner where others than the peer send many.
        """

    def lock_peer(self) -> None:
        """Hears from now on only who spoke last."""

    def unlock_peer(self) -> None:
        """Hears everybody again."""

    def close(self) -> None:
        """Closes the line."""


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Udp(_Closing):
    """A UDP socket that talks to one peer."""

    def __init__(
        self, local: tuple[str, int] | None = None, peer: tuple[str, int] | None = None
    ) -> None:
        """Bound to ``local`` and, where ``peer`` is given, hearing nobody else."""
        host, port = peer or local or ("127.0.0.1", 0)
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._peer: Any = where if peer is not None else None
        self._fixed = peer is not None
        self._last: Any = None
        if local is not None:
            self._socket.bind(local)
        #: Packets from others than the peer.
        self.foreign = 0

    @property
    def address(self) -> tuple[str, int]:
        """The address bound to."""
        host, port, *_ = self._socket.getsockname()
        return host, port

    def send(self, packet: bytes) -> None:
        peer = self._peer or self._last
        if peer is None:
            raise OSError("no peer has spoken yet")
        self._socket.sendto(packet, peer)

    def receive(self, timeout_s: float) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        for _ in range(_MOST_AT_ONCE):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                packet, sender = self._socket.recvfrom(1 << 16)
            except ConnectionRefusedError:
                continue  # A datagram sent before found nobody; the next one may.
            if self._peer is not None and sender != self._peer:
                self.foreign += 1
                continue
            self._last = sender
            return packet
        return None

    def lock_peer(self) -> None:
        self._peer = self._peer or self._last

    def unlock_peer(self) -> None:
        if not self._fixed:
            self._peer = None

    def close(self) -> None:
        self._socket.close()


class Framer:
    """Packets out of a serial line's bytes: COBS frames between zero bytes."""

    #: Longest frame.
    LONGEST = wire.MAX_PACKET + wire.MAX_PACKET // 254 + 1

    def __init__(self) -> None:
        self._frame = bytearray()
        self._overlong = False
        #: Frames that were not COBS or too long.
        self.corrupt = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that these bytes complete."""
        packets = []
        *ended, rest = data.split(b"\x00")
        for part in ended:
            self._add(part)
            frame, overlong = bytes(self._frame), self._overlong
            self._frame.clear()
            self._overlong = False
            if not frame:
                continue
            try:
                if overlong:
                    raise ValueError("too long")
                packets.append(wire.cobs_decode(frame))
            except ValueError:
                self.corrupt += 1
        self._add(rest)
        return packets

    def _add(self, part: bytes) -> None:
        room = self.LONGEST - len(self._frame)
        self._overlong |= len(part) > room
        self._frame += part[:room]

    @staticmethod
    def frame(packet: bytes) -> bytes:
        """The bytes that carry a packet; the first zero ends whatever was left unfinished."""
        return b"\x00" + wire.cobs_encode(packet) + b"\x00"


class Serial(_Closing):
    """A serial device or pseudo-terminal."""

    def __init__(self, device: str | Path | int, baud: int = DEFAULT_BAUD) -> None:
        """Opens a device raw at ``baud`` bits per second, or takes an open terminal's number."""
        if isinstance(device, int):
            self._line = device
        else:
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
            self._line = os.open(device, flags)
        os.set_blocking(self._line, False)
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise ValueError(f"{baud} baud: not a rate that this system knows")
        tty.setraw(self._line)
        settings = termios.tcgetattr(self._line)
        settings[4] = settings[5] = speed
        settings[2] |= termios.CLOCAL | termios.CREAD
        termios.tcsetattr(self._line, termios.TCSANOW, settings)
        self._framer = Framer()
        self._packets: list[bytes] = []

    @property
    def corrupt(self) -> int:
        """Frames that were damaged."""
        return self._framer.corrupt

    def send(self, packet: bytes) -> None:
        rest = Framer.frame(packet)
        deadline = time.monotonic() + 0.1
        while rest:
            try:
                rest = rest[os.write(self._line, rest) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError("the serial line takes no more") from None
                select.select([], [self._line], [], 0.01)
            except OSError as error:
                raise Closed(str(error)) from None

    def receive(self, timeout_s: float) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        while not self._packets:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._line], [], [], left)[0]:
                return None
            try:
                data = os.read(self._line, 4096)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed(str(error)) from None
            if not data:
                raise Closed("the other end is closed")
            self._packets += self._framer.feed(data)
        return self._packets.pop(0)

    def lock_peer(self) -> None:
        """A line has one other end."""

    def unlock_peer(self) -> None:
        """A line has one other end."""

    def close(self) -> None:
        os.close(self._line)


def _parse(address: str) -> tuple[str, int] | tuple[Path, int, None]:
    def wrong(reason: str) -> ValueError:
        needed = f"`udp://HOST:PORT` or `serial:///dev/DEVICE?baud=N` (without baud: {DEFAULT_BAUD})"
        return ValueError(f"address `{address}`: {reason}; need {needed}")

    kind, found, rest = address.partition("://")
    if found and kind == "udp":
        host, colon, port = rest.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65_535:
            raise wrong("no port")
        return host.strip("[]"), int(port)
    if found and kind == "serial":
        device, _, query = rest.partition("?")
        baud = query.removeprefix("baud=") if query else str(DEFAULT_BAUD)
        if not device or not baud.isdigit():
            raise wrong("no device or rate")
        return Path(device), int(baud), None
    raise wrong("unknown kind of link")


def listen(address: str) -> Udp | Serial:
    """The line of a robot at this address."""
    parsed = _parse(address)
    return Udp(local=parsed) if len(parsed) == 2 else Serial(parsed[0], parsed[1])


def connect(address: str) -> Udp | Serial:
    """The line of a controller to this address."""
    parsed = _parse(address)
    return Udp(peer=parsed) if len(parsed) == 2 else Serial(parsed[0], parsed[1])
