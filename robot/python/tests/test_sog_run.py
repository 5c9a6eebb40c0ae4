"""Robots of this package and of the C header, driven by `sog-run` (SOG_RUN says where it is)."""

import json
import os
import shutil
import socket
import subprocess
import threading

import numpy as np
import pytest
from conftest import POLICIES, ROOT, Point, Served, pseudo_terminal

from sog_robot import Command, Fate, Key, Policy, Udp

POLICY = POLICIES / "circles-sog-bc.safetensors"
STEPS = 10_000


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def drive(program, policy, address, steps, *more):
    """Runs the controller for so many steps of the policy; its summary."""
    dt_s = Policy.load(policy).contract.dt_s
    command = [program, policy, "--robot", address, "--duration", str(steps * dt_s), *more]
    command += ["--rt", "off", "--no-keys", "--quiet", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


def all_good(summary, steps=STEPS):
    assert summary["end"] == "completed" and summary["policy_ticks"] == steps
    link = summary["link"]
    dropped = {k: v for k, v in link.items() if k not in ("sent", "received") and v}
    assert dropped == {}, link
    assert link["received"] >= steps


def same_actions(robot, steps=STEPS):
    """The point did what it does alone under the policy, to the rounding of single precision."""
    told = [t for t in robot.told if isinstance(t, tuple)]
    assert len(told) == steps and set(robot.told[steps:]) == {"damp"}
    alone, policy = Point(), Policy.load(POLICY)
    for action in told[:200]:
        own = policy.act(alone.read().values, policy.one_hot(0))
        assert np.abs(own - np.array(action)).max() < 1e-5
        alone.act(np.array(action))


@pytest.mark.parametrize("keyed", [False, True], ids=["open", "keyed"])
@pytest.mark.parametrize("versions", [(1, 2), (1,)], ids=["newest", "version1"])
def test_ten_thousand_steps_over_udp(sog_run, key_file, keyed, versions):
    robot, key = Point(), Key.read(key_file) if keyed else None
    with Udp(("127.0.0.1", 0)) as line:
        served = Served(robot, line, lock_step=True, key=key, versions=versions)
        address = f"udp://127.0.0.1:{line.address[1]}"
        all_good(drive(sog_run, POLICY, address, STEPS, *(["--key", key_file] if keyed else [])))
        counts = served.finish()
    # Of a hello in a version that it does not speak there may have been some.
    dropped = {fate: n for fate, n in counts.dropped.items() if n and fate is not Fate.VERSION}
    assert counts.commands[Command.ACT] == STEPS and dropped == {}
    same_actions(robot)


@pytest.mark.parametrize("keyed", [False, True], ids=["open", "keyed"])
def test_a_serial_line(sog_run, key_file, keyed):
    robot, key = Point(), Key.read(key_file) if keyed else None
    line, device = pseudo_terminal()
    served = Served(robot, line, lock_step=True, key=key)
    all_good(
        drive(
            sog_run, POLICY, f"serial://{device}?baud=115200", 2000,
            *(["--key", key_file] if keyed else []),
        ),
        2000,
    )
    served.finish()
    same_actions(robot, 2000)


def test_in_real_time(sog_run):
    robot = Point()
    with Udp(("127.0.0.1", 0)) as line:
        served = Served(robot, line)
        more = ("--stale-limit", "20", "--damp-after", "off")
        summary = drive(sog_run, POLICY, f"udp://127.0.0.1:{line.address[1]}", 100, *more)
        counts = served.finish()
    assert summary["end"] == "completed" and summary["policy_ticks"] == 100
    assert counts.commands[Command.ACT] > 50 and robot.told[-1] == "damp"


# -- the C header ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def point_robot(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = tmp_path_factory.mktemp("c") / "point_robot"
    source = ROOT / "robot" / "c" / "point_robot.c"
    sane = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *strict, *sane, "-o", program, source], check=True)
    return program


def start(program, *arguments):
    robot = subprocess.Popen([program, *arguments, "--sessions", "1"], stdout=subprocess.PIPE)
    assert robot.stdout.readline() == b"ready\n"
    return robot


@pytest.mark.parametrize("keyed", [False, True], ids=["open", "keyed"])
def test_c_ten_thousand_steps_over_udp(sog_run, point_robot, key_file, keyed):
    port, key = free_port(), ["--key", key_file] if keyed else []
    robot = start(point_robot, "udp", str(port), "--lock-step", *key)
    try:
        all_good(drive(sog_run, POLICY, f"udp://127.0.0.1:{port}", STEPS, *key))
        said = robot.communicate(timeout=20)[0].decode()
    finally:
        robot.kill()
    assert "act 10000" in said and "lost 0, corrupt 0, unauthenticated 0" in said, said


@pytest.mark.parametrize("keyed", [False, True], ids=["open", "keyed"])
def test_c_a_serial_line(sog_run, point_robot, key_file, keyed):
    key = ["--key", key_file] if keyed else []
    # Two pseudo-terminals and a pump between their masters: a null-modem cable.
    one, here = pseudo_terminal()
    two, there = pseudo_terminal()
    done = threading.Event()
    pumps = [
        threading.Thread(target=pump, args=(a._line, b._line, done), daemon=True)
        for a, b in ((one, two), (two, one))
    ]
    for thread in pumps:
        thread.start()
    robot = start(point_robot, "serial", there, "--lock-step", "--baud", "115200", *key)
    try:
        address = f"serial://{here}?baud=115200"
        all_good(drive(sog_run, POLICY, address, 2000, *key), 2000)
        said = robot.communicate(timeout=20)[0].decode()
    finally:
        robot.kill()
        done.set()
    assert "act 2000" in said and "corrupt 0, unauthenticated 0" in said, said


def pump(source, sink, done):
    import select

    while not done.is_set():
        if select.select([source], [], [], 0.1)[0]:
            data = os.read(source, 4096)
            while data:
                try:
                    data = data[os.write(sink, data) :]
                except BlockingIOError:
                    select.select([], [sink], [], 0.1)


def test_c_in_real_time(sog_run, point_robot):
    port = free_port()
    robot = start(point_robot, "udp", str(port))
    try:
        more = ("--stale-limit", "20", "--damp-after", "off")
        summary = drive(sog_run, POLICY, f"udp://127.0.0.1:{port}", 200, *more)
        said = robot.communicate(timeout=20)[0].decode()
    finally:
        robot.kill()
    assert summary["end"] == "completed" and summary["policy_ticks"] == 200
    assert "act " in said
