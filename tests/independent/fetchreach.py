"""FetchReach in MuJoCo's own Python bindings on Gymnasium-Robotics' stock model.

    pip install mujoco==3.17.0 gymnasium-robotics numpy safetensors
    python tests/independent/fetchreach.py FILE...

A demonstration file is replayed open loop from the home pose: prints the largest distance between
recorded and replayed gripper positions, and how many episodes end within 5 cm of their goal here.
A policy file is rolled out with 1000 codes from N(0, I): prints the entropy of the reached targets
(Kozachenko-Leonenko, k = 1, nats; clipped to the cube of goals, which is scaled to side 2).
Nothing of this project is used.
"""

import importlib.util
import math
import os
import sys

import mujoco
import numpy as np
from safetensors import safe_open

from evaluate_policy import act

# Without importing the package, which wants a renderer.
PACKAGE = os.path.dirname(importlib.util.find_spec("gymnasium_robotics").origin)
MODEL = os.path.join(PACKAGE, "envs", "assets", "fetch", "reach.xml")
SUBSTEPS, DT, HORIZON, REACH, HIT = 20, 0.04, 50, 0.15, 0.05


class FetchReach:
    def __init__(self):
        self.model = mujoco.MjModel.from_xml_path(MODEL)
        self.data = mujoco.MjData(self.model)
        m, d = self.model, self.data
        self.fingers = [m.joint(f"robot0:{s}_gripper_finger_joint") for s in "rl"]
        self.grip, self.gripper = m.site("robot0:grip").id, m.body("robot0:gripper_link").id
        for name, value in zip("012", (0.4049, 0.48, 0.0)):
            d.qpos[m.joint(f"robot0:slide{name}").qposadr] = value
        # The weld as the stock environment sets it.
        for i in np.flatnonzero(m.eq_type == mujoco.mjtEq.mjEQ_WELD):
            m.eq_data[i, :7] = [0, 0, 0, 0, 0, 0, 1]
        mujoco.mj_forward(m, d)
        d.mocap_pos[0] = d.site_xpos[self.grip] + [-0.498, 0.005, -0.231]
        d.mocap_quat[0] = [1, 0, 1, 0]
        mujoco.mj_step(m, d, nstep=200)
        self.home = d.site_xpos[self.grip].copy()
        self.start = np.concatenate([d.qpos, d.qvel, d.mocap_pos[0], d.mocap_quat[0]])

    def reset(self):
        m, d = self.model, self.data
        mujoco.mj_resetData(m, d)
        d.qpos[:], d.qvel[:] = self.start[: m.nq], self.start[m.nq : m.nq + m.nv]
        d.mocap_pos[0], d.mocap_quat[0] = self.start[-7:-4], self.start[-4:]
        mujoco.mj_forward(m, d)

    def step(self, action):
        m, d = self.model, self.data
        d.ctrl[:] = 0
        d.mocap_pos[0] = d.xpos[self.gripper] + 0.05 * np.clip(action[:3], -1, 1)
        d.mocap_quat[0] = d.xquat[self.gripper] + [1, 0, 1, 0]
        mujoco.mj_step(m, d, nstep=SUBSTEPS)
        for joint in self.fingers:
            d.qpos[joint.qposadr] = 0
        mujoco.mj_forward(m, d)

    def observe(self):
        m, d = self.model, self.data
        jacobian = np.zeros((3, m.nv))
        mujoco.mj_jacSite(m, d, jacobian, None, self.grip)
        q = [d.qpos[j.qposadr][0] for j in self.fingers]
        v = [d.qvel[j.dofadr][0] * DT for j in self.fingers]
        return np.concatenate([d.site_xpos[self.grip], q, jacobian @ d.qvel * DT, v])


def replay(path):
    with safe_open(path, "np") as f:
        obs, actions, goals = (f.get_tensor(k) for k in ("observations", "actions", "goals"))
    env, off, hits = FetchReach(), 0.0, 0
    for n in range(len(goals)):
        env.reset()
        for t in range(HORIZON):
            off = max(off, np.linalg.norm(env.observe()[:3] - obs[n, t, :3]))
            env.step(actions[n, t].astype(float))
        hits += np.linalg.norm(env.data.site_xpos[env.grip] - goals[n]) < HIT
    print(f"{path}: {len(goals)} episodes, off by {off:.1e} m at most, {hits} goals reached")


def entropy(points):
    n, d = points.shape
    nearest = [np.partition(np.linalg.norm(points - p, axis=1), 1)[1] for p in points]
    psi = lambda k: -np.euler_gamma + sum(1 / i for i in range(1, k))
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return psi(n) - psi(1) + math.log(ball) + d * np.mean(np.log(nearest))


def roll_out(path):
    with safe_open(path, "np") as f:
        meta = f.metadata()
        p = {k: f.get_tensor(k).astype(np.float64) for k in f.keys()}
    env, rng, reached = FetchReach(), np.random.default_rng(0), []
    for _ in range(1000):
        code = rng.standard_normal(p["actor.latent.weight"].shape[1])
        env.reset()
        for _ in range(HORIZON):
            env.step(act(meta, p, env.observe(), code))
        reached.append((env.data.site_xpos[env.grip] - env.home) / REACH)
    print(f"{path}: {entropy(np.clip(reached, -1, 1)):.3f} nats over {len(reached)} rollouts")


if __name__ == "__main__":
    for file in sys.argv[1:]:
        with safe_open(file, "np") as f:
            is_policy = "actor.latent.weight" in f.keys()
        roll_out(file) if is_policy else replay(file)
