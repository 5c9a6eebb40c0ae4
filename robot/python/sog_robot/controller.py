"""The controller's side, small: to drive a robot from Python, and to test robots.

``sog-run`` is the controller to deploy; this one has no limits, no states and no real time.
"""

from __future__ import annotations

import secrets
import time
from types import TracebackType

import numpy as np

from . import wire
from .robot import Reading
from .session import Counts, Floats, Order, RobotSpec
from .transport import Closed, Transport
from .wire import Command, Contract, Fate, Key

_ASK_AGAIN_S = 0.02
#: Hellos in the first version that go unanswered before others are offered too.
_FIRST_ALONE = 10


class Refused(ConnectionError):
    """The robot says no, or does not fit."""


class Controller:
    """A robot behind a line, seen from the controller."""

    def __init__(
        self,
        line: Transport,
        contract: Contract,
        *,
        key: Key | None = None,
        timeout_s: float = 5.0,
        period_ns: int | None = None,
        versions: tuple[int, ...] = (2, 1),
    ) -> None:
        """Agrees on a session; :class:`Refused` or TimeoutError if there is none.

        The first of the versions is asked for some times, then all in turn, so that a robot that speaks
        an older one answers too. In version 1 nobody compares the action's bounds.
        """
        self._line, self._key, self.timeout_s = line, key, timeout_s
        self.counts = Counts()
        self._session, self._seq, self._echo = 0, 0, (0, 0)
        self._last: tuple[Command, bytes] | None = None
        #: Step of the newest observation, and whether the robot follows actions.
        self.step, self.follows = -1, True
        period = round(contract.dt_s * 1e9) if period_ns is None else period_ns
        hello = wire.Hello(secrets.randbits(64), contract, period)
        deadline = time.monotonic() + timeout_s
        welcome, turn = None, 0
        while welcome is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no robot answered within {timeout_s} s")
            self.version = versions[0 if turn < _FIRST_ALONE else turn % len(versions)]
            turn += 1
            self._seq = 0
            self._send(hello)
            welcome = self._await_welcome(hello)
        self._seq, self._order = 0, Order(1)
        #: What the robot is.
        self.spec, self.lock_step = self._describe(welcome), welcome.lock_step
        self._fresh: Reading | None = None
        while self._fresh is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the robot sent no observation within {timeout_s} s")
            self._send(wire.Ready())
            self._pump(_ASK_AGAIN_S)

    def read(self, wait_s: float | None = None) -> Reading | None:
        """The newest observation; nothing if none has come after ``wait_s``.

        In lock step the last command is repeated meanwhile, for the time-out if ``wait_s`` is None.
        """
        wait_s = self.timeout_s if wait_s is None else wait_s
        deadline = time.monotonic() + wait_s
        self._pump(min(wait_s, _ASK_AGAIN_S))
        while self._fresh is None and time.monotonic() < deadline:
            if self.lock_step:
                self._send_last()
            self._pump(_ASK_AGAIN_S)
        reading, self._fresh = self._fresh, None
        return reading

    def act(self, action: Floats) -> None:
        """Commands an action, ``[A]``."""
        if np.shape(action) != (self.spec.contract.action_dim,):
            raise ValueError(f"an action of shape {np.shape(action)}")
        self._last = (Command.ACT, wire.to_bytes(action))
        self._send_last()

    def command(self, command: Command) -> None:
        """Commands damping, stop or reset."""
        self._last = (command, b"")
        self._send_last()

    def idle(self) -> None:
        """Says that the controller is still there, and commands nothing."""
        self._send(wire.Ready())

    def close(self) -> None:
        """Leaves the robot in damping, unless it was stopped, and ends the session."""
        if self._session == 0:
            return
        if self._last is not None and self._last[0] != Command.STOP:
            self.command(Command.DAMP)
        self._send(wire.Bye())
        self._session = 0

    def __enter__(self) -> Controller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _await_welcome(self, hello: wire.Hello) -> wire.Welcome | None:
        deadline = time.monotonic() + _ASK_AGAIN_S
        while (left := deadline - time.monotonic()) > 0:
            frame = self._receive(left)
            message = None if frame is None else frame.message
            if isinstance(message, wire.Refuse) and message.nonce == hello.nonce:
                raise Refused(f"the robot refuses: {message.reason}")
            if frame and isinstance(message, wire.Welcome) and message.nonce == hello.nonce:
                found = hello.contract.difference(message.contract)
                if found is not None:
                    what, ours, theirs = found
                    raise Refused(f"{what} of the robot is `{theirs}`, need `{ours}`")
                self._session, self.version = frame.session, frame.version
                return message
        return None

    @staticmethod
    def _describe(welcome: wire.Welcome) -> RobotSpec:
        actions = (welcome.damping_action, welcome.stop_action, welcome.max_action_step)
        return RobotSpec(welcome.contract, *map(wire.to_numbers, actions))

    def _pump(self, wait_s: float) -> None:
        """Takes in what has come, waiting for the first observation."""
        deadline = time.monotonic() + wait_s
        while True:
            left = 0.0 if self._fresh is not None else max(0.0, deadline - time.monotonic())
            frame = self._receive(left)
            if frame is None:
                if left == 0.0 or time.monotonic() >= deadline:
                    return
                continue
            if frame.session != self._session or frame.version != self.version:
                self.counts.dropped[Fate.FOREIGN] += 1
                continue
            try:
                self.counts.dropped[Fate.LOST] += self._order.judge(frame.seq)
            except wire.PacketError as error:
                self.counts.dropped[error.fate] += 1
                continue
            self._echo = (frame.seq, time.monotonic_ns())
            self.counts.received += 1
            if isinstance(frame.message, wire.Bye):
                self._session = 0
                raise Closed("the robot has ended the session")
            self._take(frame.message)

    def _take(self, message: wire.Message) -> None:
        guided = message if isinstance(message, wire.Guided) else None
        seen = guided.observation if guided else message
        if not isinstance(seen, wire.Observation):
            return
        if len(seen.values) != 4 * self.spec.contract.obs_dim:
            self.counts.dropped[Fate.MISFIT] += 1
            return
        if seen.step <= self.step:
            return
        self.step, self.follows = seen.step, seen.follows
        self._fresh = Reading(wire.to_numbers(seen.values), seen.reward, seen.terminated)
        if guided:
            applied = None if guided.applied is None else wire.to_numbers(guided.applied)
            self._fresh.applied = applied
            self._fresh.buttons, self._fresh.taken_over = guided.buttons, guided.taken_over

    def _receive(self, wait_s: float) -> wire.Frame | None:
        packet = self._line.receive(wait_s)
        if packet is None:
            return None
        try:
            return wire.open_packet(packet, self._key)
        except wire.PacketError as error:
            self.counts.dropped[error.fate] += 1
            return None

    def _send_last(self) -> None:
        if self._last is not None:
            command, action = self._last
            self._send(wire.Act(max(self.step, 0), command, action))

    def _send(self, message: wire.Message) -> None:
        self._seq += 1
        now_ns = time.monotonic_ns()
        echo, received_ns = self._echo
        hold_ns = now_ns - received_ns if echo else 0
        frame = wire.Frame(self._session, self._seq, now_ns, echo, hold_ns, message, self.version)
        self.counts.sent += 1
        try:
            self._line.send(wire.seal(frame, self._key))
        except Closed:
            raise
        except OSError:
            pass  # The next one may.
