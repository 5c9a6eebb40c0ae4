"""Robots behind a line: what one is, and serving it to a controller.

Write a class with the methods of :class:`Robot`, and::

    with listen("udp://127.0.0.1:5600") as line:
        serve(robot, line, key=Key.read("secret"))
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Protocol

from .session import Counts, Do, Floats, RobotSpec, Session
from .transport import Closed, Transport
from .wire import Key

_POLL_S = 0.02


@dataclass
class Reading:
    """What a robot sees, and what came with it."""

    #: The observation, ``[S]``.
    values: Floats
    #: Reward of the step that led here, where the robot knows one.
    reward: float | None = None
    #: Whether the robot's episode has ended (fallen, say).
    terminated: bool = False
    #: The action that was applied in the step that led here, ``[A]``, where it is reported.
    applied: Floats | None = None
    #: Bit n is button n, set while it is pressed.
    buttons: int = 0
    #: Whether a person leads the robot, whatever the controller commands.
    taken_over: bool = False


class Robot(Protocol):
    """A robot, one control step at a time: :meth:`read`, then one of the others."""

    @property
    def spec(self) -> RobotSpec:
        """What the robot is."""

    def read(self) -> Reading | None:
        """The newest observation, or nothing if there is no new one."""

    def act(self, action: Floats) -> None:
        """Applies an action, ``[A]``."""

    def damp(self) -> None:
        """Takes energy out of the robot; also what happens when the controller is gone, unless it has
        stopped the robot: then :meth:`stop` comes again."""

    def stop(self) -> None:
        """Emergency stop: nothing moves until :meth:`reset`."""

    def reset(self) -> None:
        """Clears a stop or a failure; a simulated robot begins an episode."""


def serve(
    robot: Robot,
    line: Transport,
    *,
    key: Key | None = None,
    lock_step: bool = False,
    watchdog_periods: int = 3,
    late_periods: float = 2.0,
    sessions: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    versions: tuple[int, ...] = (1, 2),
) -> Counts:
    """Serves a robot to one controller at a time, until ``sessions`` are over or ``stop()``.

    In lock step the robot waits for the controller at every step; in real time it keeps the
    controller's period, whether commands come or not, and damps itself when none do.

    The first session takes the robot as it is; every later one begins with a reset.
    """
    session = Session(
        robot.spec,
        key=key,
        lock_step=lock_step,
        watchdog_periods=watchdog_periods,
        late_periods=late_periods,
        versions=versions,
    )
    server = _Server(robot, line, session)
    try:
        while not stop() and (sessions is None or server.ended < sessions):
            server.turn()
    except Closed:
        pass
    finally:
        if session.on:
            session.end(time.monotonic_ns())
            server.flush()
            server.rest()
    return session.counts


class _Server:
    def __init__(self, robot: Robot, line: Transport, session: Session) -> None:
        self.robot, self.line, self.session = robot, line, session
        self.next_ns = 0
        self.ended = 0

    def turn(self) -> None:
        """Waits for a packet or the next period, and does what it asks for."""
        session = self.session
        in_real_time = session.on and not session.lock_step
        wait_s = _POLL_S
        if in_real_time:
            wait_s = max(0.0, min(_POLL_S, (self.next_ns - time.monotonic_ns()) / 1e9))
        packet = self.line.receive(wait_s)
        if packet is not None:
            self.do(session.receive(packet, time.monotonic_ns()), answers=session.lock_step)
        if session.on and (not in_real_time or time.monotonic_ns() >= self.next_ns):
            todo = session.tick(time.monotonic_ns())
            self.do(todo, answers=in_real_time)
            if in_real_time:
                # Whole periods are skipped, and the phase is kept.
                late = max(0, time.monotonic_ns() - self.next_ns)
                self.next_ns += session.period_ns * (1 + late // max(1, session.period_ns))

    def do(self, todo: Do, *, answers: bool) -> None:
        self.flush()
        robot, session = self.robot, self.session
        if todo is Do.END:
            self.ended += 1
            self.rest()
            self.line.unlock_peer()
            return
        if todo is Do.START:
            self.line.lock_peer()
            self.next_ns = time.monotonic_ns() + session.period_ns
            if session.counts.sessions > 1:
                robot.reset()
        elif todo is Do.ACT:
            robot.act(session.action)
        elif todo is Do.DAMP:
            robot.damp()
        elif todo is Do.STOP:
            robot.stop()
        elif todo is Do.RESET:
            robot.reset()
        nothing = todo is Do.NOTHING and session.lock_step
        if todo is Do.START or (answers and not nothing):
            self.observe()

    def rest(self) -> None:
        """The session is over: the robot damps, and a stop stays a stop."""
        if self.session.stopped:
            self.robot.stop()
        else:
            self.robot.damp()

    def observe(self) -> None:
        reading = self.robot.read()
        now_ns = time.monotonic_ns()
        if reading is None:
            self.send(self.session.repeat(now_ns))
            return
        self.send(
            self.session.observe(
                now_ns,
                reading.values,
                reward=reading.reward,
                terminated=reading.terminated,
                applied=reading.applied,
                buttons=reading.buttons,
                taken_over=reading.taken_over,
            )
        )

    def flush(self) -> None:
        for packet in self.session.out:
            self.send(packet)
        self.session.out = []

    def send(self, packet: bytes | None) -> None:
        try:
            if packet is not None:
                self.line.send(packet)
        except Closed:
            raise
        except OSError:
            pass  # The controller will notice that it lacks.
