"""The wire format: one packet in, one packet out (docs/protocol.md, "Packets").

    packet = 'S' 'G' version  content  [mac, 16 bytes, where there is a key]  crc32, little-endian

:func:`seal` makes a packet from a :class:`Frame`, :func:`open_packet` reads one or says by
:class:`PacketError` why it is dropped.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, TypeVar, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Versions of the wire format that this package speaks.
VERSIONS = (1, 2)
#: Largest packet: what a UDP datagram can hold.
MAX_PACKET = 65_507
#: Fewest bytes of a key.
MIN_KEY_BYTES = 16

_MARK = b"SG"
#: The only schema that version 1 was made for.
_SCHEMA_1 = "sog.policy/1"
_MAC_BYTES = 16
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


class Fate(enum.Enum):
    """What becomes of a packet that is not used."""

    LOST = "lost"
    LATE = "late"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    UNAUTHENTICATED = "unauthenticated"
    VERSION = "version"
    MISFIT = "misfit"


class PacketError(ValueError):
    """A packet that is dropped; ``fate`` says why."""

    def __init__(self, fate: Fate) -> None:
        super().__init__(f"the packet is {fate.value}")
        self.fate = fate


class Command(enum.IntEnum):
    """Kind of a command."""

    #: Apply the action.
    ACT = 0
    #: Damp.
    DAMP = 1
    #: Emergency stop, until a reset.
    STOP = 2
    #: Clear a stop or a failure.
    RESET = 3


@dataclass(frozen=True)
class Contract:
    """What policy and robot must agree on."""

    #: Task name.
    task: str
    #: Observation terms in order, ``name:width,name:width``.
    obs_terms: str
    #: Action terms in order.
    action_terms: str
    #: Control period of the task, s.
    dt_s: float
    #: Lower action bounds ``[A]`` as little-endian f32; empty where they are not known, as in
    #: version 1. See :meth:`with_bounds`.
    action_low: bytes = b""
    #: Upper action bounds, likewise.
    action_high: bytes = b""

    @property
    def obs_dim(self) -> int:
        """Observation width S."""
        return width(self.obs_terms)

    @property
    def action_dim(self) -> int:
        """Action width A."""
        return width(self.action_terms)

    def with_bounds(self, low: ArrayLike, high: ArrayLike) -> Contract:
        """The same with bounds of the action, ``[A]`` or one number for all."""
        shape = (self.action_dim,)
        lows, highs = (np.broadcast_to(np.asarray(x, "<f4"), shape) for x in (low, high))
        if not (np.isfinite(lows).all() and np.isfinite(highs).all() and (lows < highs).all()):
            raise ValueError("action bounds must be finite numbers, the lower one first")
        return replace(self, action_low=lows.tobytes(), action_high=highs.tobytes())

    def difference(self, other: Contract) -> tuple[str, str, str] | None:
        """The first thing in which two contracts differ: what, ours, theirs.

        Bounds that one side does not know are no difference.
        """
        for what, ours, theirs in (
            ("task", self.task, other.task),
            ("observation terms", self.obs_terms, other.obs_terms),
            ("action terms", self.action_terms, other.action_terms),
        ):
            if ours != theirs:
                return what, ours, theirs
        # Written so that NaN differs.
        if not abs(self.dt_s - other.dt_s) <= 1e-9 * abs(self.dt_s):
            return "control period", f"{self.dt_s} s", f"{other.dt_s} s"
        for what, mine, yours in (
            ("lower action bounds", self.action_low, other.action_low),
            ("upper action bounds", self.action_high, other.action_high),
        ):
            if mine and yours and not _same_bounds(mine, yours):
                return what, _show(mine), _show(yours)
        return None


def _same_bounds(ours: bytes, theirs: bytes) -> bool:
    if len(ours) != len(theirs) or len(ours) % 4:
        return False
    a, b = (np.frombuffer(x, "<f4").astype(np.float64) for x in (ours, theirs))
    return bool((np.abs(a - b) <= 1e-6 * np.maximum(np.abs(a), 1.0)).all())


def _show(numbers: bytes) -> str:
    whole = numbers[: len(numbers) // 4 * 4]
    return ", ".join(f"{x:g}" for x in np.frombuffer(whole, "<f4"))


def width(terms: str) -> int:
    """Total width of terms written ``name:width,name:width``.

    Raises ValueError if they cannot be read.
    """
    total = 0
    for term in terms.split(","):
        name, _, digits = term.rpartition(":")
        if not name or not digits.isascii() or not digits.isdigit():
            raise ValueError(f"terms `{terms}`: need `name:width,name:width,…`")
        if not 1 <= int(digits) <= 65_536:
            raise ValueError(f"terms `{terms}`: need widths from 1 to 65536")
        total += int(digits)
    return total


@dataclass(frozen=True)
class Hello:
    """Controller: asks for a session."""

    nonce: int
    contract: Contract
    #: Control period that the controller will run at, ns.
    period_ns: int


@dataclass(frozen=True)
class Welcome:
    """Robot: grants a session, whose number is the frame's."""

    nonce: int
    contract: Contract
    #: Whether robot and controller wait for each other.
    lock_step: bool
    #: What the actuators get in damping, ``[A]`` as little-endian f32; so the next two.
    damping_action: bytes
    #: What they get in an emergency stop.
    stop_action: bytes
    #: Largest bearable change of action in one step; infinite for no limit.
    max_action_step: bytes


@dataclass(frozen=True)
class Refuse:
    """Robot: refuses a session."""

    nonce: int
    #: Why, for people.
    reason: str


@dataclass(frozen=True)
class Ready:
    """Controller: the session is on; later: it is still there, and commands nothing."""


@dataclass(frozen=True)
class Observation:
    """Robot: what it sees."""

    #: Number of the control step.
    step: int
    #: Reward of the step that led here.
    reward: float | None
    #: Whether the robot's episode has ended.
    terminated: bool
    #: Whether the robot follows actions, or holds itself in damping or stop until a reset.
    follows: bool
    #: ``[S]`` as little-endian f32.
    values: bytes


@dataclass(frozen=True)
class Act:
    """Controller: what to do."""

    #: Step of the newest observation that the controller has.
    step: int
    #: What kind of command.
    command: Command
    #: ``[A]`` as little-endian f32; empty for every command but :attr:`Command.ACT`.
    action: bytes = b""


@dataclass(frozen=True)
class Bye:
    """Either: ends the session."""


@dataclass(frozen=True)
class Guided:
    """Robot, in version 2: an observation with what was applied, and what a person does."""

    observation: Observation
    #: The action that was applied in the step that led here, ``[A]`` as little-endian f32.
    applied: bytes | None
    #: Bit n is button n, set while it is pressed.
    buttons: int
    #: Whether a person leads the robot, whatever the controller commands.
    taken_over: bool


@dataclass(frozen=True)
class Again:
    """Controller, in version 2: sends for observations that were lost on the way."""

    #: Step of the first.
    first: int
    #: How many steps from there on.
    count: int


Message = Union[Hello, Welcome, Refuse, Ready, Observation, Act, Bye, Guided, Again]


@dataclass(frozen=True)
class Frame:
    """What every packet holds."""

    #: Session, 0 before there is one.
    session: int
    #: Counts up from 1 in every session and direction.
    seq: int
    #: When it was sent, ns of the sender's clock.
    sent_ns: int
    #: Sequence number of the newest frame that the sender has got, 0 for none…
    echo_seq: int
    #: …and how long it has had it, ns.
    echo_hold_ns: int
    #: What it says.
    message: Message
    #: Version of the wire format.
    version: int = 1


class Key:
    """A shared secret that authenticates every packet."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_KEY_BYTES:
            raise ValueError(f"a key of {len(secret)} bytes, need {MIN_KEY_BYTES} or more")
        self._secret = bytes(secret)

    @classmethod
    def read(cls, path: str | Path) -> Key:
        """The key in a file: all its bytes, which nobody but its owner may read."""
        mode = Path(path).stat().st_mode
        if mode & 0o077:
            raise PermissionError(f"{path}: others may use this key (mode {mode & 0o777:o}): chmod 600")
        return cls(Path(path).read_bytes())

    def mac(self, signed: bytes) -> bytes:
        """HMAC-SHA-256 of these bytes, its first 16."""
        return hmac.new(self._secret, signed, hashlib.sha256).digest()[:_MAC_BYTES]

    def __repr__(self) -> str:
        return "Key(secret)"


def to_bytes(numbers: ArrayLike) -> bytes:
    """Numbers as little-endian f32."""
    return np.asarray(numbers, dtype="<f4").tobytes()


def to_numbers(data: bytes) -> NDArray[np.float32]:
    """Little-endian f32 as numbers; ValueError if the length is no multiple of four."""
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


# -- content -------------------------------------------------------------------------------------


def _varint(value: int, most: int = _U64) -> bytes:
    if not 0 <= value <= most:
        raise ValueError(f"{value} does not fit an unsigned number up to {most}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _blob(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _text(text: str) -> bytes:
    return _blob(text.encode())


def _flag(flag: bool) -> bytes:
    return b"\x01" if flag else b"\x00"


def _contract(c: Contract, version: int) -> bytes:
    schema = _text(_SCHEMA_1) if version == 1 else b""
    bounds = b"" if version == 1 else _blob(c.action_low) + _blob(c.action_high)
    texts = b"".join(map(_text, (c.task, c.obs_terms, c.action_terms)))
    return schema + texts + struct.pack("<d", c.dt_s) + bounds


def _observation(o: Observation) -> bytes:
    reward = b"\x00" if o.reward is None else b"\x01" + struct.pack("<d", o.reward)
    return _varint(o.step) + reward + _flag(o.terminated) + _flag(o.follows) + _blob(o.values)


def _encode(message: Message, version: int) -> bytes:
    if isinstance(message, Hello):
        contract = _contract(message.contract, version)
        return b"\x00" + _varint(message.nonce) + contract + _varint(message.period_ns)
    if isinstance(message, Welcome):
        actions = (message.damping_action, message.stop_action, message.max_action_step)
        head = b"\x01" + _varint(message.nonce) + _contract(message.contract, version)
        return head + _flag(message.lock_step) + b"".join(map(_blob, actions))
    if isinstance(message, Refuse):
        return b"\x02" + _varint(message.nonce) + _text(message.reason)
    if isinstance(message, Ready):
        return b"\x03"
    if isinstance(message, Observation):
        return b"\x04" + _observation(message)
    if isinstance(message, Act):
        return b"\x05" + _varint(message.step) + _varint(message.command) + _blob(message.action)
    if isinstance(message, Bye):
        return b"\x06"
    if isinstance(message, Again):
        return b"\x08" + _varint(message.first) + _varint(message.count, _U32)
    applied = b"\x00" if message.applied is None else b"\x01" + _blob(message.applied)
    guidance = applied + _varint(message.buttons, _U32) + _flag(message.taken_over)
    return b"\x07" + _observation(message.observation) + guidance


_T = TypeVar("_T")


class _Reader:
    """Takes content apart; every failure is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        #: Whether a contract was made for another schema than that of its version.
        self.foreign_schema = False

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def varint(self, most: int = _U64) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if value > most:
                break
            if byte < 0x80:
                return value
        raise ValueError("a number is too large")

    def flag(self) -> bool:
        byte = self.take(1)[0]
        if byte > 1:
            raise ValueError("neither yes nor no")
        return byte == 1

    def double(self) -> float:
        value: float = struct.unpack("<d", self.take(8))[0]
        return value

    def blob(self) -> bytes:
        return self.take(self.varint())

    def text(self) -> str:
        return self.blob().decode()

    def maybe(self, read: Callable[[], _T]) -> _T | None:
        return read() if self.flag() else None

    def contract(self, version: int) -> Contract:
        schema = self.text() if version == 1 else _SCHEMA_1
        task, obs_terms, action_terms = (self.text() for _ in range(3))
        self.foreign_schema |= schema != _SCHEMA_1
        contract = Contract(task, obs_terms, action_terms, self.double())
        if version == 1:
            return contract
        return replace(contract, action_low=self.blob(), action_high=self.blob())

    def observation(self) -> Observation:
        return Observation(self.varint(), self.maybe(self.double), self.flag(), self.flag(), self.blob())

    def message(self, version: int) -> Message:
        kind = self.varint(_U32)
        if kind == 0:
            return Hello(self.varint(), self.contract(version), self.varint())
        if kind == 1:
            nonce, contract, lock_step = self.varint(), self.contract(version), self.flag()
            return Welcome(nonce, contract, lock_step, self.blob(), self.blob(), self.blob())
        if kind == 2:
            return Refuse(self.varint(), self.text())
        if kind == 3:
            return Ready()
        if kind == 4:
            return self.observation()
        if kind == 5:
            return Act(self.varint(), Command(self.varint(_U32)), self.blob())
        if kind == 6:
            return Bye()
        if kind == 7 and version >= 2:
            return Guided(
                self.observation(), self.maybe(self.blob), self.varint(_U32), self.flag()
            )
        if kind == 8 and version >= 2:
            return Again(self.varint(), self.varint(_U32))
        raise ValueError("an unknown kind of message")


# -- packets -------------------------------------------------------------------------------------


def seal(frame: Frame, key: Key | None = None) -> bytes:
    """The packet of a frame. ValueError if a number does not fit, or it is too long."""
    if frame.version not in VERSIONS:
        raise ValueError(f"version {frame.version}, this package speaks {VERSIONS}")
    if isinstance(frame.message, (Guided, Again)) and frame.version < 2:
        raise ValueError(f"{type(frame.message).__name__} needs version 2")
    head = (
        _varint(frame.session)
        + _varint(frame.seq, _U32)
        + _varint(frame.sent_ns)
        + _varint(frame.echo_seq, _U32)
        + _varint(frame.echo_hold_ns)
    )
    packet = _MARK + bytes([frame.version]) + head + _encode(frame.message, frame.version)
    if key is not None:
        packet += key.mac(packet)
    packet += struct.pack("<I", zlib.crc32(packet))
    if len(packet) > MAX_PACKET:
        raise ValueError(f"a packet of {len(packet)} bytes, the most is {MAX_PACKET}")
    return packet


def open_packet(packet: bytes, key: Key | None = None) -> Frame:
    """Reads a packet; :class:`PacketError` says why it is dropped.

    Looked at in this order: checksum, marks, version, MAC, content.
    """
    packet = bytes(packet)
    signed, crc = packet[:-4], packet[-4:]
    if len(crc) < 4 or zlib.crc32(signed) != int.from_bytes(crc, "little"):
        raise PacketError(Fate.CORRUPT)
    if len(signed) < 3 or signed[:2] != _MARK:
        raise PacketError(Fate.CORRUPT)
    version = signed[2]
    if version not in VERSIONS:
        raise PacketError(Fate.VERSION)
    if key is not None:
        signed, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if len(signed) < 3 or not hmac.compare_digest(key.mac(signed), mac):
            raise PacketError(Fate.UNAUTHENTICATED)
    reader = _Reader(signed[3:])
    try:
        session, seq, sent_ns = reader.varint(), reader.varint(_U32), reader.varint()
        echo_seq, echo_hold_ns = reader.varint(_U32), reader.varint()
        message = reader.message(version)
    except ValueError:  # also what `decode` and `Command` raise
        raise PacketError(Fate.CORRUPT) from None
    if reader.at != len(reader.data):
        raise PacketError(Fate.CORRUPT)
    if reader.foreign_schema:
        raise PacketError(Fate.VERSION)
    return Frame(session, seq, sent_ns, echo_seq, echo_hold_ns, message, version)


# -- serial lines --------------------------------------------------------------------------------


def cobs_encode(data: bytes) -> bytes:
    """Consistent overhead byte stuffing: no byte of the result is 0."""
    out = bytearray()
    blocks = data.split(b"\x00")
    for i, block in enumerate(blocks):
        chunks = [block[at : at + 254] for at in range(0, len(block), 254)]
        for chunk in chunks:
            out += bytes([len(chunk) + 1]) + chunk
        full = bool(chunks) and len(chunks[-1]) == 254
        # A full chunk does not stand for a zero; the zero, or nothing where the data ends, follows.
        if not chunks or (full and i + 1 < len(blocks)):
            out += b"\x01"
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """What :func:`cobs_encode` was given; ValueError for bytes that it does not give."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or 0 in block or len(block) != code - 1:
            raise ValueError("not COBS")
        out += block
        at += code
        if code != 0xFF and at < len(data):
            out.append(0)
    return bytes(out)
