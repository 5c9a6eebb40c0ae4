"""Gymnasium environments as robots."""

import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import POLICIES, ROOT, Memory, Served

from sog_robot import Command, Contract, Controller, GymRobot, Policy, contract_of

gymnasium = pytest.importorskip("gymnasium")

PENDULUM = Contract("pendulum", "cos_sin_speed:3", "torque:1", 0.05).with_bounds(-2, 2)


def test_an_environment_behind_a_line_does_what_it_does_alone():
    here, there = Memory.pair()
    robot = GymRobot(gymnasium.make("Pendulum-v1"), PENDULUM, seed=3)
    served = Served(robot, there, lock_step=True)
    alone = gymnasium.make("Pendulum-v1")
    obs, _ = alone.reset(seed=3)
    with Controller(here, PENDULUM) as c:
        reading = c.read()
        # Longer than the environment's time limit of 200: truncation ends nothing.
        for i in range(250):
            assert np.array_equal(reading.values, np.float32(obs))
            action = np.float32([2 * math.sin(i)])
            c.act(action)
            reading = c.read()
            obs, reward, *_ = alone.step(action)
            assert reading.reward == pytest.approx(float(reward))
            assert np.array_equal(reading.applied, action)
        c.command(Command.STOP)
        assert c.read().applied.tolist() == [0]
        c.act(np.float32([2]))
        assert c.read().applied.tolist() == [0], "a stop latches"
        c.command(Command.RESET)
        assert c.read().applied is None
    served.finish()


def test_what_does_not_fit_is_named():
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(ValueError, match="3 numbers, the contract 4"):
        GymRobot(env, Contract("p", "x:4", "torque:1", 0.05))
    with pytest.raises(ValueError, match="actuate="):
        GymRobot(env, Contract("p", "x:3", "torque:2", 0.05))
    with pytest.raises(ValueError, match="frame_skip"):
        GymRobot(env, Contract("p", "x:3", "torque:1", 0.02))
    discrete = gymnasium.make("CartPole-v1")
    with pytest.raises(ValueError, match="actuate="):
        GymRobot(discrete, Contract("c", "x:4", "push:1", 0.02))
    robot = GymRobot(
        discrete,
        Contract("c", "tilt:2", "push:1", 0.02),
        observe=lambda env, obs: obs[2:],
        actuate=lambda action: int(action[0] > 0),
    )
    for _ in range(200):
        robot.act(np.float32([1]))
    assert robot.read().terminated


def ant():
    pytest.importorskip("mujoco")
    return gymnasium.make(
        "Ant-v5", include_cfrc_ext_in_observation=False, healthy_z_range=(0.2, math.inf)
    )


def test_ant_v5_walks_under_a_committed_policy():
    policy = Policy.load(POLICIES / "ant-dir-6-sog-gail.safetensors")
    robot = GymRobot(ant(), policy.contract, seed=0)
    reading = robot.read()
    for _ in range(200):
        robot.act(policy.act(reading.values, policy.one_hot(0)))
        reading = robot.read()
        assert not reading.terminated
    x, y = robot.env.unwrapped.data.qpos[:2]
    assert math.hypot(x, y) > 20


def test_ant_v5_is_driven_by_sog_run(sog_run, tmp_path):
    """A thousand steps in lock step, with the program of the example."""
    pytest.importorskip("mujoco")
    policy, trace = POLICIES / "ant-dir-6-sog-gail.safetensors", tmp_path / "log"
    from test_sog_run import drive, free_port

    port = free_port()
    example = ROOT / "robot" / "python" / "examples" / "ant.py"
    listen = ["--listen", f"udp://127.0.0.1:{port}", "--sessions", "1"]
    robot = subprocess.Popen([sys.executable, example, policy, *listen], stdout=subprocess.PIPE)
    try:
        summary = drive(
            sog_run, policy, f"udp://127.0.0.1:{port}", 1000, "--timeout", "60", "--log", trace
        )
        said = robot.communicate(timeout=30)[0].decode()
    finally:
        robot.kill()
    assert summary["end"] == "completed" and summary["policy_ticks"] == 1000
    assert summary["faults"]["terminated"] == 0
    assert "1002 steps in 1 sessions" in said
    position = said.split("(")[1].split(")")[0].split(",")
    assert math.hypot(float(position[0]), float(position[1])) > 100, said


def test_the_contract_comes_from_the_policy():
    contract = contract_of(POLICIES / "ant-dir-6-sog-gail.safetensors")
    assert (contract.obs_dim, contract.action_dim, contract.dt_s) == (27, 8, 0.05)
