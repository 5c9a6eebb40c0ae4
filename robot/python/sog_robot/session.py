"""The robot's side of a session, without input or output (docs/protocol.md, "The session").

:class:`Session` is handed packets and the time, and says what the robot must do:

    todo = session.receive(packet, now_ns)     # for every packet that comes
    todo = session.tick(now_ns)                # once a period
    packet = session.observe(now_ns, values)   # the observation to send

What is to be sent beside observations (answers, repetitions, farewells) lies in
:attr:`Session.out` after every call.
"""

from __future__ import annotations

import dataclasses
import enum
import secrets
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import wire
from .wire import Command, Contract, Fate, Key

#: A lock-step session whose controller is silent for so long is over, ns.
SILENCE_NS = 10_000_000_000
#: Shortest and longest control period, ns.
PERIODS_NS = (500_000, 1_000_000_000)

_WINDOW = 64
#: Observations that are kept for a controller that sends for them again, and sent at once.
_KEPT, _AGAIN = 1024, 8
_TRANSIT_WINDOW_NS = 10_000_000_000

Floats = NDArray[np.float32]


@dataclass
class RobotSpec:
    """What a robot is: what a policy must fit."""

    #: Task, terms and control period.
    contract: Contract
    #: What the actuators get in damping, ``[A]``; zeros if nothing is given.
    damping_action: Floats | None = None
    #: What they get in an emergency stop, ``[A]``; zeros if nothing is given.
    stop_action: Floats | None = None
    #: Largest bearable change of each action component in one step, ``[A]``; without, any is.
    max_action_step: Floats | None = None

    def __post_init__(self) -> None:
        a = self.contract.action_dim

        def filled(given: Floats | None, fill: float) -> Floats:
            numbers = np.full(a, fill) if given is None else given
            return np.broadcast_to(np.asarray(numbers, np.float32), (a,)).copy()

        self.damping = filled(self.damping_action, 0.0)
        self.stop = filled(self.stop_action, 0.0)
        self.most_step = filled(self.max_action_step, np.inf)


class Do(enum.Enum):
    """What the robot must do now."""

    #: Nothing.
    NOTHING = "nothing"
    #: A session begins: a first one takes the robot as it is, later ones reset it. Then observe.
    START = "start"
    #: Apply :attr:`Session.action`.
    ACT = "act"
    #: Damp.
    DAMP = "damp"
    #: Emergency stop, and nothing else until a reset.
    STOP = "stop"
    #: Clear a stop or a failure; a simulated robot begins an episode.
    RESET = "reset"
    #: The session is over: damp (where :attr:`Session.stopped`, stop), and hear every peer again.
    END = "end"


class Order:
    """Sequence numbers of one direction."""

    def __init__(self, first: int = 0) -> None:
        #: Newest number, and which of those before it have come (bit i: newest − i); all before
        #: the first count as come.
        self.newest, self.seen = first, (1 << _WINDOW) - 1

    def judge(self, seq: int) -> int:
        """How many numbers a new packet skips; :class:`wire.PacketError` if it is dropped."""
        if seq == 0:
            raise wire.PacketError(Fate.FOREIGN)
        if seq > self.newest:
            ahead = seq - self.newest
            shifted = self.seen << ahead if ahead < _WINDOW else 0
            self.seen = (shifted | 1) & ((1 << _WINDOW) - 1)
            self.newest = seq
            return ahead - 1
        behind = self.newest - seq
        if behind >= _WINDOW or self.seen >> behind & 1:
            raise wire.PacketError(Fate.DUPLICATED)
        self.seen |= 1 << behind
        raise wire.PacketError(Fate.REORDERED)


class Transit:
    """How much longer than the quickest a packet was on its way; clocks need not agree."""

    def __init__(self) -> None:
        self._least: list[int | None] = [None, None]
        self._window_from_ns = 0

    def age_ns(self, sent_ns: int, now_ns: int) -> int:
        """Age of a packet, ns."""
        transit = now_ns - sent_ns & (1 << 64) - 1
        transit -= (transit >> 63) << 64
        if now_ns - self._window_from_ns > _TRANSIT_WINDOW_NS:
            self._least = [None, self._least[0]]
            self._window_from_ns = now_ns
        self._least[0] = transit if self._least[0] is None else min(self._least[0], transit)
        return transit - min(least for least in self._least if least is not None)


@dataclass
class Counts:
    """Packets by fate, and what the session did."""

    sent: int = 0
    received: int = 0
    sessions: int = 0
    steps: int = 0
    #: How often the robot damped itself, or gave up, because the controller was silent.
    watchdog: int = 0
    dropped: Counter[Fate] = field(default_factory=Counter)
    commands: Counter[Command] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Granted:
    nonce: int
    session: int
    period_ns: int
    version: int


class Session:
    """The robot's side of one session after another."""

    def __init__(
        self,
        spec: RobotSpec,
        *,
        key: Key | None = None,
        lock_step: bool = False,
        watchdog_periods: int = 3,
        late_periods: float = 2.0,
        versions: tuple[int, ...] = wire.VERSIONS,
    ) -> None:
        self.spec = spec
        self.key = key
        self.lock_step = lock_step
        self.watchdog_periods = watchdog_periods
        self.late_periods = late_periods
        self.versions = versions
        #: Packets to send now.
        self.out: list[bytes] = []
        #: The action to apply, ``[A]``.
        self.action: Floats = spec.damping.copy()
        #: Whether the robot follows actions; false in damping by the watchdog and in a stop.
        self.follows = True
        #: Whether the robot is in an emergency stop, until a reset or the next session.
        self.stopped = False
        #: Control period of the session, ns.
        self.period_ns = 0
        #: Number of the last observation.
        self.step = 0
        self.counts = Counts()
        self._granted: _Granted | None = None
        #: Whether no observation has been made yet.
        self._first = True
        self._session, self._version, self._seq = 0, 1, 0
        self._order, self._transit = Order(), Transit()
        #: Sequence number of the newest frame, and when it came.
        self._echo = (0, 0)
        self._last_observation: wire.Observation | wire.Guided | None = None
        #: The newest ones with their steps.
        self._shown: deque[tuple[int, wire.Observation | wire.Guided]] = deque(maxlen=_KEPT)
        self._heard_ns = 0
        #: The last command, and whether one, or anything at all, has come since the last tick…
        self._last = Command.DAMP
        self._commanded = self._heard = True
        #: …and for how many ticks not.
        self._uncommanded = self._unheard = 0

    @property
    def on(self) -> bool:
        """Whether there is a session."""
        return self._session != 0

    @property
    def version(self) -> int:
        """Version of the wire format in the session."""
        return self._version

    def receive(self, packet: bytes, now_ns: int) -> Do:
        """Takes in a packet."""
        self.out = []
        try:
            frame = wire.open_packet(packet, self.key)
            if frame.version not in self.versions or (self.on and frame.version != self._version):
                raise wire.PacketError(Fate.VERSION)
            return self._session_frame(frame, now_ns) if self.on else self._stranger(frame, now_ns)
        except wire.PacketError as error:
            self.counts.dropped[error.fate] += 1
            if error.fate == Fate.REORDERED and self.counts.dropped[Fate.LOST]:
                self.counts.dropped[Fate.LOST] -= 1
            return Do.NOTHING

    def tick(self, now_ns: int) -> Do:
        """What to do in this control period; in lock step only whether the controller is gone."""
        self.out = []
        if not self.on:
            return Do.NOTHING
        if self.lock_step:
            if now_ns - self._heard_ns > SILENCE_NS:
                self.counts.watchdog += 1
                return self.end(now_ns)
            return Do.NOTHING
        self._uncommanded = 0 if self._commanded else self._uncommanded + 1
        self._unheard = 0 if self._heard else self._unheard + 1
        self._commanded = self._heard = False
        # Only an action must not go on without its controller: in damping silence does no harm.
        if self._last == Command.ACT and self._uncommanded >= self.watchdog_periods:
            self.counts.watchdog += self.follows
            self.follows = False
            self._last = Command.DAMP
        # A controller that says nothing for a second is gone.
        if self._unheard >= self.watchdog_periods + 1_000_000_000 // self.period_ns:
            return self.end(now_ns)
        if self._last == Command.RESET:
            # Obeyed when it came, and once is enough.
            self._last = Command.DAMP
            return Do.NOTHING
        return self._obey(self._last)

    def observe(
        self,
        now_ns: int,
        values: Floats,
        *,
        reward: float | None = None,
        terminated: bool = False,
        applied: Floats | None = None,
        buttons: int = 0,
        taken_over: bool = False,
    ) -> bytes:
        """The packet of a new observation, ``[S]``.

        ``applied`` (the action of the step that led here), ``buttons`` and ``taken_over`` reach a
        controller that speaks version 2.
        """
        needed = self.spec.contract.obs_dim
        if np.shape(values) != (needed,):
            raise ValueError(f"an observation of shape {np.shape(values)}, need ({needed},)")
        if self._first:
            self._first = False
        else:
            self.step += 1
        self.counts.steps += 1
        observation = wire.Observation(
            self.step, reward, terminated, self.follows, wire.to_bytes(values)
        )
        message: wire.Observation | wire.Guided = observation
        if self._version >= 2:
            data = None if applied is None else wire.to_bytes(applied)
            message = wire.Guided(observation, data, buttons, taken_over)
        self._last_observation = message
        self._shown.append((self.step, message))
        return self._seal(message, now_ns)

    def repeat(self, now_ns: int) -> bytes | None:
        """The last observation once more, if there is one: nothing new was seen."""
        return None if self._last_observation is None else self._seal(self._last_observation, now_ns)

    def end(self, now_ns: int) -> Do:
        """Ends the session from the robot's side."""
        if self.on:
            self.out = [self._seal(wire.Bye(), now_ns)]
        self._begin(None, now_ns)
        return Do.END

    def _begin(self, granted: _Granted | None, now_ns: int, seq: int = 0) -> None:
        self._session = 0 if granted is None else granted.session
        self._version = 1 if granted is None else granted.version
        self.period_ns = 0 if granted is None else granted.period_ns
        # The welcome, however often it was sent, is the first packet of the session.
        self._seq = 0 if granted is None else 1
        self._order, self._transit = Order(seq), Transit()
        self._echo = (0, 0)
        self._last_observation = None
        self._shown.clear()
        self._heard_ns = now_ns
        self._uncommanded = self._unheard = 0
        self._commanded = self._heard = True
        self._last = Command.DAMP
        # A stop outlasts its session.
        self.stopped = self.stopped and granted is None
        self.follows = not self.stopped

    def _stranger(self, frame: wire.Frame, now_ns: int) -> Do:
        """A packet while there is no session."""
        granted, message = self._granted, frame.message
        if (
            granted is not None
            and frame.session == granted.session
            and frame.version == granted.version
            and isinstance(message, wire.Ready)
        ):
            self._begin(granted, now_ns, frame.seq)
            self._granted = None
            self.counts.received += 1
            self.counts.sessions += 1
            return Do.START
        if not isinstance(message, wire.Hello):
            raise wire.PacketError(Fate.FOREIGN)
        asks = frame.version >= 2 and not message.contract.task and not message.contract.obs_terms
        period_ns = message.period_ns
        if asks and not period_ns:
            # Who asks what the robot is may leave the period to it.
            period_ns = round(self.spec.contract.dt_s * 1e9)
        refusal = None if asks else self._misfit(message.contract)
        if refusal is None and not PERIODS_NS[0] <= period_ns <= PERIODS_NS[1]:
            refusal = f"a period of {period_ns} ns, need 0.5 ms to 1 s"
        if refusal is not None:
            answer: wire.Message = wire.Refuse(message.nonce, refusal)
            self.out = [self._seal_as(0, 1, answer, now_ns, frame.version)]
            return Do.NOTHING
        # Who asks again, because the answer takes its time, gets the same session.
        if granted is None or granted.nonce != message.nonce or granted.version != frame.version:
            number = secrets.randbits(64) | 1  # never 0, which means that there is no session
            granted = _Granted(message.nonce, number, period_ns, frame.version)
        self._granted = granted
        spec = self.spec
        contract = spec.contract
        if not contract.action_low:
            # A robot that states no bounds takes those of the policy.
            low, high = message.contract.action_low, message.contract.action_high
            contract = dataclasses.replace(contract, action_low=low, action_high=high)
        answer = wire.Welcome(
            message.nonce,
            contract,
            self.lock_step,
            wire.to_bytes(spec.damping),
            wire.to_bytes(spec.stop),
            wire.to_bytes(spec.most_step),
        )
        self.out = [self._seal_as(granted.session, 1, answer, now_ns, frame.version)]
        return Do.NOTHING

    def _misfit(self, policy: Contract) -> str | None:
        found = self.spec.contract.difference(policy)
        if found is None:
            return None
        what, ours, theirs = found
        return f"{what} of the policy is `{theirs}`, the robot's is `{ours}`"

    def _session_frame(self, frame: wire.Frame, now_ns: int) -> Do:
        if frame.session != self._session:
            raise wire.PacketError(Fate.FOREIGN)
        self.counts.dropped[Fate.LOST] += self._order.judge(frame.seq)
        age_ns = self._transit.age_ns(frame.sent_ns, now_ns)
        # A stop is obeyed whenever it comes.
        stops = isinstance(frame.message, wire.Act) and frame.message.command == Command.STOP
        if not (self.lock_step or stops) and age_ns > self.late_periods * self.period_ns:
            raise wire.PacketError(Fate.LATE)
        self._echo = (frame.seq, now_ns)
        self.counts.received += 1
        message = frame.message
        if isinstance(message, wire.Bye):
            return self.end(now_ns)
        if isinstance(message, wire.Act):
            return self._command(message, now_ns)
        if isinstance(message, wire.Again):
            self._heard_ns, self._heard = now_ns, True
            last = message.first + min(message.count, _AGAIN)
            shown = [m for step, m in self._shown if message.first <= step < last]
            self.out = [self._seal(m, now_ns) for m in shown]
            return Do.NOTHING
        if not isinstance(message, wire.Ready):
            raise wire.PacketError(Fate.FOREIGN)
        self._heard_ns, self._heard = now_ns, True
        return self._repeat(now_ns) if self.lock_step else Do.NOTHING

    def _command(self, act: wire.Act, now_ns: int) -> Do:
        if act.command == Command.ACT:
            action = wire.to_numbers(act.action) if len(act.action) % 4 == 0 else None
            if action is None or action.shape != self.action.shape or not np.isfinite(action).all():
                self.action = self.spec.damping.copy()
                raise wire.PacketError(Fate.MISFIT)
            self.action = action
        self._heard_ns, self._heard, self._commanded = now_ns, True, True
        if self.lock_step:
            if act.step != self.step:
                return self._repeat(now_ns)  # It asks again: the answer was lost.
            return self._obey(act.command)
        self._last = act.command
        # A stop or a reset is never overtaken by what comes after it.
        if act.command in (Command.STOP, Command.RESET):
            return self._obey(act.command)
        return Do.NOTHING

    def _obey(self, command: Command) -> Do:
        if command == Command.STOP:
            self.stopped, self.follows = True, False
        elif command == Command.RESET:
            self.stopped, self.follows = False, True
        elif self.stopped:
            command = Command.STOP
        elif not self.follows:
            command = Command.DAMP
        self.counts.commands[command] += 1
        return {
            Command.ACT: Do.ACT,
            Command.DAMP: Do.DAMP,
            Command.STOP: Do.STOP,
            Command.RESET: Do.RESET,
        }[command]

    def _repeat(self, now_ns: int) -> Do:
        packet = self.repeat(now_ns)
        self.out = [] if packet is None else [packet]
        return Do.NOTHING

    def _seal(self, message: wire.Message, now_ns: int) -> bytes:
        self._seq += 1
        return self._seal_as(self._session, self._seq, message, now_ns, self._version)

    def _seal_as(
        self, session: int, seq: int, message: wire.Message, now_ns: int, version: int
    ) -> bytes:
        echo, received_ns = self._echo
        hold_ns = now_ns - received_ns if echo else 0
        frame = wire.Frame(session, seq, now_ns, echo, hold_ns, message, version)
        self.counts.sent += 1
        return wire.seal(frame, self.key)
