"""What a half-cheetah can earn at most after its code changes, against what it earns from a start.

    pip install mujoco==3.17.0 gymnasium numpy safetensors
    python tests/independent/switching_bound.py FILE...

It runs as fast as FILE's policy does from a start. After a switch it first has to stop: friction is all that
brakes it, so that in the mean it slows down by no more than the coefficient of friction times gravity. Then it
does as from a start, or speeds up with all of its friction too. `sog eval --switch` calls a switch followed
where the ratio is at least 0.5.
"""

import argparse

import numpy as np

from evaluate_policy import act, load, observe, reset
from replay_demonstrations import TASKS, Locomotion

TASK, STEPS, EPISODES, CONTROL_COST = "halfcheetah-fwd-back", 200, 25, 0.05


def from_a_start(meta, p, env, code, rng):
    """Mean speed and mean reward by step, in the direction in which it runs."""
    speeds, costs = np.zeros(STEPS), np.zeros(STEPS)
    for _ in range(EPISODES):
        reset(TASK, env, rng)
        for t in range(STEPS):
            x, action = env.data.qpos[0], act(meta, p, observe(TASK, env.data), code)
            env.step(action, 1)
            speeds[t] += (env.data.qpos[0] - x) / env.dt / EPISODES
            costs[t] += CONTROL_COST * (action**2).sum() / EPISODES
    sign = np.sign(speeds[-50:].mean())
    return sign * speeds, sign * speeds - costs


def main(path):
    meta, p = load(path)
    xml, skip, reward, _ = TASKS[TASK]
    env, rng = Locomotion(xml, skip, reward), np.random.default_rng(0)
    friction = max(env.model.geom_friction[:, 0]) * -env.model.opt.gravity[2]
    runs = [from_a_start(meta, p, env, code, rng) for code in np.eye(2)]
    for (before, _), (after, rewards), name in ((runs[0], runs[1], "0 to 1"), (runs[1], runs[0], "1 to 0")):
        speed, top = before[-50:].mean(), after[-50:].mean()
        brake_s = speed / friction
        left = STEPS - round(brake_s / env.dt)
        lost = speed * brake_s / 2 / env.dt
        ramp = np.minimum(friction * env.dt * np.arange(1, STEPS + 1), top)
        start = rewards.sum()
        print(
            f"code {name}: {speed:.1f} m/s to stop from, {brake_s / env.dt:.0f} of {STEPS} steps at {friction:.2f} m/s²; "
            f"then as from a start {(rewards[:left].sum() - lost) / start:.2f} of a start's return, "
            f"with all friction {(ramp[:left].sum() - lost) / start:.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    for file in parser.parse_args().files:
        print(file)
        main(file)
