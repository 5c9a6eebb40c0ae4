"""What the tests share: where things lie, robots to serve, lines between two ends."""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from sog_robot import Contract, Reading, RobotSpec, Serial, serve

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "models" / "policies"


class Point:
    """A point in the plane, as the task `circles` has it, that remembers what it was told."""

    def __init__(self) -> None:
        contract = Contract("circles", "position_history:10", "displacement:2", 0.01)
        self.spec = RobotSpec(contract.with_bounds(-1.5, 1.5))
        self.trace = np.zeros(10, np.float32)
        self.told: list[Any] = []
        self.fresh = True
        self.guided: dict[str, Any] = {}

    def read(self) -> Reading | None:
        if not self.fresh:
            return None
        self.fresh = False
        return Reading(self.trace, reward=float(self.trace[8]), **self.guided)

    def _move(self, what: Any, by: Any) -> None:
        self.told.append(what)
        self.trace = np.concatenate([self.trace[2:], self.trace[8:] + by]).astype(np.float32)
        self.fresh = True

    def act(self, action: Any) -> None:
        self._move(tuple(action), action)

    def damp(self) -> None:
        self._move("damp", 0.0)

    def stop(self) -> None:
        self._move("stop", 0.0)

    def reset(self) -> None:
        self.told.append("reset")
        self.trace = np.zeros(10, np.float32)
        self.fresh = True


class Memory:
    """One end of a line in this process; ``fault`` may change or drop what is sent."""

    def __init__(self, out: deque[bytes], into: deque[bytes], there: threading.Condition) -> None:
        self._out, self._in, self._there = out, into, there
        self.fault: Callable[[bytes], list[bytes]] = lambda packet: [packet]

    @staticmethod
    def pair() -> tuple[Memory, Memory]:
        a, b, there = deque[bytes](), deque[bytes](), threading.Condition()
        return Memory(a, b, there), Memory(b, a, there)

    def send(self, packet: bytes) -> None:
        with self._there:
            self._out.extend(self.fault(packet))
            self._there.notify_all()

    def receive(self, timeout_s: float) -> bytes | None:
        with self._there:
            self._there.wait_for(lambda: self._in, timeout_s)
            return self._in.popleft() if self._in else None

    def lock_peer(self) -> None:
        pass

    def unlock_peer(self) -> None:
        pass

    def close(self) -> None:
        pass


class Served:
    """A robot served in a thread."""

    def __init__(self, robot: Any, line: Any, **options: Any) -> None:
        self._stop, self._result = threading.Event(), None
        options = {"sessions": 1, "stop": self._stop.is_set} | options

        def run() -> None:
            self._result = serve(robot, line, **options)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def finish(self, *, stop: bool = False) -> Any:
        if stop:
            self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._result


def pseudo_terminal() -> tuple[Serial, str]:
    """A serial line's one end, and the device of the other."""
    first, second = os.openpty()
    name = os.ttyname(second)
    line = Serial(first, 115_200)
    # Kept open, so that the line does not close between one user and the next.
    line.other = second  # type: ignore[attr-defined]
    return line, name


@pytest.fixture
def sog_run() -> str:
    """The controller's program."""
    program = os.environ.get("SOG_RUN")
    if not program:
        pytest.skip("SOG_RUN does not say where sog-run is")
    return program


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"a secret of many bytes")
    path.chmod(0o600)
    return path
