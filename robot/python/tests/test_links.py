"""Robots served over lines, good and bad, to the controller of this package."""

import random
import time

import numpy as np
import pytest
from conftest import Memory, Point, Served, pseudo_terminal

from sog_robot import (
    Closed,
    Command,
    Controller,
    Fate,
    Key,
    Refused,
    Serial,
    Udp,
    connect,
    listen,
)

KEY = Key(b"a secret of many bytes")
STEPS = 300


def drive(line, key=None, **options):
    """Drives the point in lock step; what it was told and what was seen."""
    sent, seen = [], []
    with Controller(line, Point().spec.contract, key=key, **options) as c:
        assert c.lock_step
        for i in range(STEPS):
            reading = c.read()
            assert reading is not None
            seen.append(reading.values)
            sent.append((np.float32(0.1 * (i % 7)), np.float32(-0.5)))
            c.act(np.array(sent[-1]))
    return sent, seen


def same_as_alone(sent, seen):
    alone = Point()
    for action, values in zip(sent, seen):
        assert np.array_equal(alone.read().values, values)
        alone.act(np.array(action))


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "keyed"])
@pytest.mark.parametrize("version", [1, 2])
def test_udp(key, version):
    robot = Point()
    with Udp(("127.0.0.1", 0)) as there, Udp(peer=there.address) as here:
        served = Served(robot, there, lock_step=True, key=key)
        sent, seen = drive(here, key, versions=(version,))
        counts = served.finish()
    same_as_alone(sent, seen)
    assert robot.told[:STEPS] == [tuple(a) for a in sent]
    assert set(robot.told[STEPS:]) == {"damp"}
    assert counts.commands[Command.ACT] == STEPS and counts.dropped.total() == 0


def test_a_serial_line():
    line, device = pseudo_terminal()
    robot = Point()
    served = Served(robot, line, lock_step=True, key=KEY)
    with Serial(device, 115_200) as here:
        sent, seen = drive(here, KEY)
    served.finish()
    same_as_alone(sent, seen)


def faults(seed):
    rng, held = random.Random(seed), []

    def fault(packet):
        out, roll = [packet], rng.random()
        if roll < 0.03:
            out = []
        elif roll < 0.08:
            out = [packet, packet]
        elif roll < 0.10:
            held.append(packet)
            out = []
        elif roll < 0.13:
            bad = bytearray(packet)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            out = [bytes(bad)]
        elif held:
            out.append(held.pop())
        return out

    return fault


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_costs_time_and_nothing_else(seed):
    here, there = Memory.pair()
    here.fault, there.fault = faults(2 * seed), faults(2 * seed + 1)
    robot = Point()
    served = Served(robot, there, lock_step=True)
    sent, seen = drive(here)
    served.finish(stop=True)
    same_as_alone(sent, seen)
    assert [t for t in robot.told if isinstance(t, tuple)] == [tuple(a) for a in sent]


def test_what_does_not_fit_is_refused_on_both_sides():
    here, there = Memory.pair()
    served = Served(Point(), there)
    contract = Point().spec.contract
    with pytest.raises(Refused, match="upper action bounds of the policy"):
        Controller(here, contract.with_bounds(-1.5, 9))
    served.finish(stop=True)


def test_a_wrong_key_is_not_answered():
    here, there = Memory.pair()
    served = Served(Point(), there, key=KEY)
    with pytest.raises(TimeoutError):
        Controller(here, Point().spec.contract, key=Key(bytes(16)), timeout_s=0.3)
    assert served.finish(stop=True).dropped[Fate.UNAUTHENTICATED] > 5


def test_version_2_tells_what_a_person_does_and_version_1_is_served():
    for versions, spoken in (((2, 1), 2), ((1,), 1)):
        here, there = Memory.pair()
        robot = Point()
        robot.guided = dict(applied=np.float32([1, 2]), buttons=5, taken_over=True)
        served = Served(robot, there, lock_step=True)
        with Controller(here, robot.spec.contract, versions=versions) as c:
            assert c.version == spoken
            c.command(Command.DAMP)
            reading = c.read()
        served.finish()
        if spoken == 2:
            assert reading.applied.tolist() == [1, 2]
            assert (reading.buttons, reading.taken_over) == (5, True)
        else:
            assert (reading.applied, reading.buttons, reading.taken_over) == (None, 0, False)


def test_a_robot_of_version_1_is_asked_again_in_version_1():
    here, there = Memory.pair()
    served = Served(Point(), there, lock_step=True, versions=(1,))
    with Controller(here, Point().spec.contract) as c:
        assert c.version == 1
    assert served.finish().dropped[Fate.VERSION] >= 1


def test_a_few_lost_packets_make_no_robot_an_older_one():
    for lost in (1, 2, 5):
        here, there = Memory.pair()
        left = [lost]

        def fault(packet, left=left):
            left[0] -= 1
            return [packet] if left[0] < 0 else []

        here.fault = fault
        served = Served(Point(), there, lock_step=True)
        with Controller(here, Point().spec.contract) as c:
            assert c.version == 2
        served.finish()


def test_in_real_time_the_robot_keeps_the_period_and_damps_itself():
    here, there = Memory.pair()
    robot = Point()
    served = Served(robot, there)
    with Controller(here, robot.spec.contract, period_ns=10_000_000) as c:
        assert not c.lock_step
        begin, steps = time.monotonic(), []
        while time.monotonic() - begin < 0.5:
            if c.read(0.05) is not None:
                steps.append(c.step)
                c.act(np.float32([0.5, 0.5]))
        assert steps == sorted(set(steps)) and len(steps) > 20
        time.sleep(0.2)
        c.read(0.05)
        assert not c.follows, "the watchdog"
        c.command(Command.RESET)
        time.sleep(0.1)
        c.read(0.05)
        assert c.follows
        c.command(Command.STOP)
        time.sleep(0.05)
    counts = served.finish()
    assert counts.watchdog == 1
    assert robot.told[-1] == "stop" and "damp" in robot.told and "reset" in robot.told


def test_a_stop_outlasts_its_session_and_the_next_one_clears_it():
    here, there = Memory.pair()
    robot = Point()
    served = Served(robot, there, lock_step=True, sessions=2)
    for command in (Command.STOP, Command.DAMP):
        with Controller(here, robot.spec.contract) as c:
            c.read()
            c.command(command)
            c.read()
    served.finish()
    first, second = (robot.told[: robot.told.index("reset")], robot.told[robot.told.index("reset") :])
    assert set(first) == {"stop"} and len(first) == 2
    assert set(second[1:]) == {"damp"}


def test_the_next_session_begins_with_a_reset():
    here, there = Memory.pair()
    robot = Point()
    served = Served(robot, there, lock_step=True, sessions=2)
    for _ in range(2):
        with Controller(here, robot.spec.contract) as c:
            c.act(np.float32([1, 1]))
            c.read()
    served.finish()
    assert robot.told.count("reset") == 1


def test_the_controller_hears_of_the_end():
    here, there = Memory.pair()
    served = Served(Point(), there, lock_step=True)
    c = Controller(here, Point().spec.contract)
    c.read()
    served.finish(stop=True)
    with pytest.raises(Closed):
        c.read(0.5)


def test_a_flood_of_strangers_holds_up_no_period():
    with Udp(("127.0.0.1", 0)) as there, Udp(peer=there.address) as here:
        here.send(b"mine")
        assert there.receive(5.0) == b"mine"
        there.lock_peer()
        with Udp(peer=there.address) as stranger:
            for _ in range(100):
                stranger.send(b"hers")
        here.send(b"again")
        # However many there are, only so many are looked at in one go.
        assert there.receive(0.0) is None and there.foreign == 64
        assert there.receive(0.0) == b"again" and there.foreign == 100


def test_addresses():
    with listen("udp://127.0.0.1:0") as line:
        assert isinstance(line, Udp) and line.address[1] > 0
        with connect(f"udp://127.0.0.1:{line.address[1]}") as other:
            other.send(b"x")
            assert line.receive(1.0) == b"x"
    for bad in ("", "udp", "udp://", "udp://h", "tcp://h:1", "serial://", "udp://h:99999"):
        with pytest.raises(ValueError, match="address"):
            listen(bad)
    with pytest.raises(ValueError, match="baud"):
        Serial(pseudo_terminal()[1], 12_345)
