"""Evaluates policy files in MuJoCo's own Python bindings on Gymnasium's stock models.

    pip install mujoco==3.17.0 gymnasium numpy safetensors
    python tests/independent/evaluate_policy.py [--rollouts 100] FILE...

Reads only the policy file: normaliser, two-branch network, mean action. With one-hot codes prints the
mean return of every code in every mode, and the assignment of codes to modes of the largest sum; for
halfcheetah-vel the mutual information of code and velocity (Kraskov et al. 2004, first estimator,
k = 3, nats) at 30 equally spaced quantiles of [0.1, 0.9]. Nothing of this project is used.
"""

import argparse
import itertools
import math
import statistics

import numpy as np
from safetensors import safe_open

from replay_demonstrations import TASKS, Locomotion


def load(path):
    with safe_open(path, "np") as f:
        return f.metadata(), {k: f.get_tensor(k).astype(np.float64) for k in f.keys()}


def act(meta, p, obs, code):
    clip = float(meta["obs.clip"])
    x = np.clip((obs - p["obs.mean"]) / np.sqrt(p["obs.var"] + 1e-8), -clip, clip)
    h = np.tanh(p["actor.state.0.weight"] @ x + p["actor.state.0.bias"])
    s = p["actor.state.1.weight"] @ h + p["actor.state.1.bias"]
    s = s + p["actor.latent.weight"] @ code + p["actor.latent.bias"]
    mean = p["actor.mean.weight"] @ np.tanh(s) + p["actor.mean.bias"]
    scale = meta.get("mean.scale", "none")
    return mean if scale == "none" else float(scale) * np.tanh(mean)


def observe(task, data):
    if task.startswith("ant"):
        return np.concatenate([data.qpos[2:], data.qvel])
    if task.startswith("halfcheetah"):
        return np.concatenate([data.qpos[1:], data.qvel, data.xpos[1]])
    if task.startswith("humanoid"):
        bodies = [data.cinert.ravel(), data.cvel.ravel(), data.qfrc_actuator, data.cfrc_ext.ravel()]
        return np.concatenate([data.qpos[2:], data.qvel, *bodies])
    return np.concatenate([data.qpos[1:], np.clip(data.qvel, -10, 10)])


def reset(task, env, rng):
    qpos = env.model.qpos0.copy()
    if task.startswith(("ant", "halfcheetah")):
        qpos += rng.uniform(-0.1, 0.1, qpos.shape)
        qvel = 0.1 * rng.standard_normal(env.model.nv)
    else:
        reach = 0.01 if task.startswith("humanoid") else 0.005
        qpos += rng.uniform(-reach, reach, qpos.shape)
        qvel = rng.uniform(-reach, reach, env.model.nv)
    env.start(qpos, qvel)


def failed(task, data):
    if task.startswith("ant"):
        return not np.isfinite(data.qpos).all() or data.qpos[2] < 0.2
    if task.startswith("walker2d"):
        return not (0.5 < data.qpos[1] < 2.5 and abs(data.qpos[2]) < 1.3)
    if task.startswith("hopper"):
        state = np.concatenate([data.qpos, data.qvel])[2:]
        high = np.abs(state).max() >= 125 or data.qpos[1] <= 0.5 or abs(data.qpos[2]) >= 0.3
        return not np.isfinite(state).all() or high
    if task.startswith("humanoid"):
        return not 0.8 < data.qpos[2] < 2.2
    return False


def mutual_information(x, y, k=3):
    """Kraskov, Stögbauer and Grassberger 2004, Eq. 8; both margins scaled to unit variance."""
    x, y, n = x / x.std(), y / y.std(), len(x)
    psi = -np.euler_gamma + np.concatenate([[np.nan, 0.0], np.cumsum(1 / np.arange(1, n + 1))])
    total = 0.0
    for rows in np.array_split(np.arange(n), n // 200 + 1):
        dx, dy = np.abs(x[rows, None] - x), np.abs(y[rows, None] - y)
        far = np.maximum(dx, dy)
        far[np.arange(len(rows)), rows] = np.inf
        nearest = np.partition(far, k - 1, axis=1)[:, k - 1 : k]
        for d in (dx, dy):
            count = (d < nearest).sum(1) - 1
            total += psi[np.maximum(count, 0) + 1].sum()
    return psi[k] + psi[n] - total / n


def evaluate_speeds(path, rollouts):
    meta, p = load(path)
    xml, skip, reward, _ = TASKS["halfcheetah-fwd-back"]
    env, rng = Locomotion(xml, skip, reward), np.random.default_rng(0)
    quantiles, speeds = [], []
    for q in np.linspace(0.1, 0.9, 30):
        code = np.array([statistics.NormalDist().inv_cdf(q)])
        for _ in range(max(3, math.ceil(rollouts / 30))):
            reset(meta["task"], env, rng)
            for _ in range(200):
                x = env.data.qpos[0]
                env.step(act(meta, p, observe(meta["task"], env.data), code), 1)
                quantiles.append(q)
                speeds.append((env.data.qpos[0] - x) / env.dt)
    found = mutual_information(np.array(quantiles), np.array(speeds))
    print(f"{path}: {found:.3f} nats over {len(speeds) // 200} rollouts")


def evaluate(path, rollouts):
    meta, p = load(path)
    task = meta["task"]
    if task == "halfcheetah-vel":
        return evaluate_speeds(path, rollouts)
    xml, skip, reward, values = TASKS[task]
    horizon = 1000 if task.startswith(("walker2d", "hopper", "humanoid")) else 200
    env, rng = Locomotion(xml, skip, reward), np.random.default_rng(0)
    k = len(values)
    each = max(10, math.ceil(rollouts / k))
    returns = np.zeros((k, each, k))
    for code, n in itertools.product(range(k), range(each)):
        reset(task, env, rng)
        for _ in range(horizon):
            action = act(meta, p, observe(task, env.data), np.eye(k)[code])
            env.step(action, values[0])
            returns[code, n] += [env.reward(env, env.before, action, v) for v in values]
            if failed(task, env.data):
                break
    matrix = returns.mean(1)
    best = max(itertools.permutations(range(k)), key=lambda c: sum(matrix[c[m], m] for m in range(k)))
    matched = np.concatenate([returns[best[m], :, m] for m in range(k)])
    for m in range(k):
        own = returns[best[m], :, m]
        print(f"{task} mode {m}: code {best[m]}, {own.mean():.1f} ± {own.std():.1f}")
    print(f"{path}: {matched.mean():.1f} ± {matched.std():.1f} over {len(matched)} rollouts")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=100)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    for file in arguments.files:
        evaluate(file, arguments.rollouts)
