"""Replays recorded demonstrations in MuJoCo's own Python bindings on Gymnasium's stock models.

    pip install mujoco==3.17.0 gymnasium numpy safetensors
    python tests/independent/replay_demonstrations.py FILE...

Reads a demonstration file, applies its actions open loop from its start states, computes the
rewards from their formulas, and compares the mean return of each mode with the one recorded.
Nothing of this project is used. Exit code 1 if a mean differs by more than a thousandth.
"""

import json
import math
import os
import sys

import gymnasium
import mujoco
import numpy as np
from safetensors import safe_open

ASSETS = os.path.join(os.path.dirname(gymnasium.__file__), "envs", "mujoco", "assets")


class Locomotion:
    """One task: model, frame skip, and the reward of a step in a mode."""

    def __init__(self, xml, skip, reward):
        self.model = mujoco.MjModel.from_xml_path(os.path.join(ASSETS, xml))
        self.data = mujoco.MjData(self.model)
        self.skip, self.reward = skip, reward
        self.dt = skip * self.model.opt.timestep

    def start(self, qpos, qvel):
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.model, self.data)

    def com(self):
        mass = self.model.body_mass[:, None]
        return (mass * self.data.xipos).sum(0) / mass.sum()

    def step(self, action, mode):
        self.before = self.data.qpos[:2].copy(), self.com(), self.data.xpos[1].copy()
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=self.skip)
        mujoco.mj_rnePostConstraint(self.model, self.data)
        return self.reward(self, self.before, action, mode)


def along(angle, delta):
    return delta[0] * math.cos(angle) + delta[1] * math.sin(angle)


def ant(env, before, action, angle):
    v = (env.data.xpos[1] - before[2])[:2] / env.dt
    contact = np.clip(env.data.cfrc_ext, -1, 1)
    return along(angle, v) - 0.5 * (action**2).sum() - 0.5e-3 * (contact**2).sum() + 1


def cheetah_direction(env, before, action, sign):
    v = (env.data.qpos[0] - before[0][0]) / env.dt
    return sign * v - 0.05 * (action**2).sum()


def cheetah_speed(env, before, action, goal):
    v = (env.data.qpos[0] - before[0][0]) / env.dt
    return -abs(v - goal) - 0.05 * (action**2).sum()


def planar(env, before, action, goal):
    v = (env.data.qpos[0] - before[0][0]) / env.dt
    return abs(goal) - abs(v - goal) - 1e-3 * (action**2).sum() + 1


def humanoid(env, before, action, angle):
    v = (env.com() - before[1])[:2] / env.model.opt.timestep
    contact = min(0.5e-6 * (env.data.cfrc_ext**2).sum(), 10)
    return 0.25 * along(angle, v) - 0.1 * (env.data.ctrl**2).sum() - contact + 5


SIXTHS = [2 * math.pi * k / 6 for k in range(6)]
TASKS = {
    "ant-fwd-back": ("ant.xml", 5, ant, [0, math.pi]),
    "ant-dir-6": ("ant.xml", 5, ant, SIXTHS),
    "halfcheetah-fwd-back": ("half_cheetah.xml", 5, cheetah_direction, [-1, 1]),
    "halfcheetah-vel": ("half_cheetah.xml", 5, cheetah_speed, None),
    "walker2d-vel-6": ("walker2d.xml", 4, planar, [-1.5, -1, -0.5, 0.5, 1, 1.5]),
    "hopper-vel-6": ("hopper.xml", 4, planar, [-2, -1.5, 0.5, 1, 1.5, 2]),
    "humanoid-dir-6": ("humanoid.xml", 5, humanoid, SIXTHS),
}


def replay(path):
    with safe_open(path, "np") as f:
        meta = f.metadata()
        read = {k: f.get_tensor(k) for k in f.keys() if k != "observations"}
    xml, skip, reward, values = TASKS[meta["task"]]
    env = Locomotion(xml, skip, reward)
    returns = {}
    for n, length in enumerate(read["lengths"]):
        if values is None:
            mode, value = 0, float(read["goals"][n, 0])
        else:
            mode = int(read["modes"][n])
            value = values[mode]
        env.start(read["start.qpos"][n], read["start.qvel"][n])
        actions = read["actions"][n, :length].astype(np.float64)
        returns.setdefault(mode, []).append(sum(env.step(a, value) for a in actions))
    good = True
    for mode, recorded in enumerate(json.loads(meta["mean_return"])):
        here = float(np.mean(returns[mode]))
        good &= abs(here - recorded) <= 1e-3 * max(1.0, abs(recorded))
        print(f"{meta['task']} mode {mode}: {len(returns[mode])} episodes, "
              f"recorded {recorded:.4f}, replayed {here:.4f}")
    return good


if __name__ == "__main__":
    sys.exit(0 if all([replay(path) for path in sys.argv[1:]]) else 1)
