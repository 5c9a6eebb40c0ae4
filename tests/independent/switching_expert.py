"""What the expert itself does where it is switched while it runs: the yardstick for `sog eval --switch`.

    pip install mujoco==3.17.0 gymnasium numpy safetensors
    python tests/independent/switching_expert.py [--episodes 80] TASK

Six networks, one a mode, each act for 200 steps in a random order, and one alone for as long. A switch is followed
where the 200 steps after it earn at least half of what the same network earns in the 200 steps after a start (the
median over them). Falls are counted for the ants, which lie on their backs from then on. Only the expert's file is
read; simulator and start states are not this project's.
"""

import argparse

import numpy as np
from safetensors import safe_open

from evaluate_policy import observe, reset
from replay_demonstrations import TASKS, Locomotion

STEPS = 200


def load(task):
    with safe_open(f"models/experts/{task}.safetensors", "np") as f:
        tensors = {k: f.get_tensor(k).astype(np.float64) for k in f.keys()}
    names = sorted({k.split(".")[1] for k in tensors if k.startswith("mode.")}, key=int)
    return [{k[len(f"mode.{n}."):]: v for k, v in tensors.items() if k.startswith(f"mode.{n}.")} for n in names]


def act(p, obs):
    h = np.clip((obs - p["obs.mean"]) / np.sqrt(p["obs.var"] + 1e-8), -10, 10)
    for layer in ("actor.state.0", "actor.state.1"):
        h = np.tanh(p[f"{layer}.weight"] @ h + p[f"{layer}.bias"])
    return np.clip(p["actor.mean.weight"] @ h + p["actor.mean.bias"], p["action.low"], p["action.high"])


def upright(env):
    return 1 - 2 * (env.data.qpos[4] ** 2 + env.data.qpos[5] ** 2) > 0


def segment(task, env, p, value, reward):
    total = 0.0
    for _ in range(STEPS):
        env.step(act(p, observe(task, env.data)), value)
        total += reward(env, env.before, env.data.ctrl, value)
    return total


def main(task, episodes):
    xml, skip, reward, values = TASKS[task]
    env, rng = Locomotion(xml, skip, reward), np.random.default_rng(0)
    modes = load(task)
    ants = task.startswith("ant")
    for switched in (True, False):
        first, later, falls, stood = [[] for _ in modes], [], 0, 0
        for episode in range(episodes):
            reset(task, env, rng)
            alone = [episode % len(modes)] * len(modes)
            for n, mode in enumerate(rng.permutation(len(modes)) if switched else alone):
                before = upright(env)
                total = segment(task, env, modes[mode], values[mode], reward)
                first[mode].append(total) if n == 0 else later.append((mode, total))
                stood += before
                falls += before and not upright(env)
        followed = np.mean([total >= 0.5 * np.median(first[mode]) for mode, total in later])
        name = "switched" if switched else "not switched"
        fell = f", {falls} of {stood} segments that began upright end on the back" if ants else ""
        print(f"{task}, expert, {name}: {100 * followed:.1f} % of {len(later)} followed{fell}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=80)
    parser.add_argument("task", choices=[task for task in TASKS if task.startswith(("ant", "halfcheetah-fwd"))])
    arguments = parser.parse_args()
    main(arguments.task, arguments.episodes)
