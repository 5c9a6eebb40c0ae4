"""Peers on the same demonstrations: a diffusion policy, IMLE and plain behaviour cloning, beside SOG-BC.

    python3 -m venv v && v/bin/pip install jax optax mujoco==3.17.0 gymnasium numpy safetensors
    sog demos record --task ant-dir-6 --out ant-dir-6.safetensors
    v/bin/python tests/independent/peers.py ant-dir-6.safetensors models/policies/ant-dir-6-sog-bc.safetensors

All learn from the demonstration file alone, without labels, and act in MuJoCo's own Python bindings on
Gymnasium's stock models; of this project only files are read. The peers are untuned perceptrons of three
layers of 256 (ReLU, Adam 3e-4, batches of 256, --updates of them) on normalised observations, and are not
told how many ways there are, as SOG-BC's file was:

* BC: mean squared error.
* IMLE (Li and Malik 2018; conditional as in Li et al. 2020): the action is a function of observation and noise
  z ~ N(0, I) of 8 dimensions; of 16 draws the one nearest to the demonstrated action is trained on. z is drawn
  anew at each step, as it is trained.
* Diffusion policy (Chi et al. 2023): denoises 8 actions in a row under the observation, predicting the clean
  ones (x0), 50 steps of noise (squared cosine), 10 of DDIM when it acts; one action is executed, then all
  anew (--execute for more).
* SOG-BC: the policy file, a code drawn uniformly at the start of each episode.

Each of --rollouts episodes counts in its best way, the one of the largest return (of walkers and hoppers, which
are rewarded for standing too, the one of the smallest sum of |v - g|). Found: the share of the ways that are
the best of an episode that returns at least half of what demonstrations of that way do. Switches: changes of the
best way from one quarter of an episode to the next, an episode. us: one action of one robot on one core.
"""

import argparse
import json
import os
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors import safe_open

from evaluate_policy import failed, load, observe, reset
from replay_demonstrations import TASKS, Locomotion

WIDTH, LAYERS, BATCH, RATE = 256, 3, 256, 3e-4
CODE, DRAWS = 8, 16
CHUNK, NOISE_STEPS, DDIM_STEPS = 8, 50, 10
QUARTERS = 4


def network(key, inputs, outputs):
    widths = [inputs] + [WIDTH] * LAYERS + [outputs]
    keys = jax.random.split(key, len(widths))
    return [
        (jax.random.normal(k, (n, m)) * np.sqrt(2 / n), jnp.zeros(m))
        for k, n, m in zip(keys, widths, widths[1:])
    ]


def apply(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ layers[-1][0] + layers[-1][1]


class Demonstrations:
    def __init__(self, path):
        with safe_open(path, "np") as f:
            self.task = f.metadata()["task"]
            self.returns = json.loads(f.metadata()["mean_return"])
            obs, actions, lengths = (f.get_tensor(k) for k in ("observations", "actions", "lengths"))
        episodes = [(o[:n], a[:n]) for o, a, n in zip(obs, actions, lengths)]
        self.obs = np.concatenate([o for o, _ in episodes]).astype(np.float32)
        # The action of each step and of those after it; the last one is repeated.
        last = lambda n: np.minimum(np.arange(n)[:, None] + np.arange(CHUNK), n - 1)
        self.chunks = np.concatenate([a[last(len(a))] for _, a in episodes]).astype(np.float32)
        self.mean, self.std = self.obs.mean(0), self.obs.std(0) + 1e-4
        self.action_std = self.chunks[:, 0].std(0) + 1e-4

    def seen(self, obs):
        return jnp.clip((obs - self.mean) / self.std, -10, 10)


class Peer:
    """A network trained on demonstrations by a loss of (network, key, observations, chunks)."""

    def __init__(self, demos, updates, inputs, outputs, seed):
        self.demos = demos
        begin = time.process_time()
        key = jax.random.PRNGKey(seed)
        self.net = network(key, inputs, outputs)
        adam = optax.adam(optax.cosine_decay_schedule(RATE, updates))
        state = adam.init(self.net)
        obs, chunks = demos.seen(demos.obs), jnp.asarray(demos.chunks)

        @jax.jit
        def update(net, state, key):
            rows_key, loss_key = jax.random.split(key)
            rows = jax.random.randint(rows_key, (BATCH,), 0, len(obs))
            grad = jax.grad(self.loss)(net, loss_key, obs[rows], chunks[rows])
            step, state = adam.update(grad, state)
            return optax.apply_updates(net, step), state

        for i in range(updates):
            self.net, state = update(self.net, state, jax.random.fold_in(key, i))
        jax.block_until_ready(self.net)
        self.train_s = time.process_time() - begin
        self.forward = jax.jit(lambda net, key, obs: self.policy(net, key, demos.seen(obs)))

    def act(self, key, obs):
        return np.asarray(self.forward(self.net, key, obs))


class Bc(Peer):
    name = "BC"

    def __init__(self, demos, updates, seed):
        super().__init__(demos, updates, demos.obs.shape[1], demos.chunks.shape[2], seed)

    def loss(self, net, _, obs, chunks):
        return jnp.mean((apply(net, obs) - chunks[:, 0]) ** 2)

    def policy(self, net, _, obs):
        return apply(net, obs)[:, None]


class Imle(Peer):
    name = "IMLE"

    def __init__(self, demos, updates, seed):
        super().__init__(demos, updates, demos.obs.shape[1] + CODE, demos.chunks.shape[2], seed)

    def loss(self, net, key, obs, chunks):
        z = jax.random.normal(key, (DRAWS, len(obs), CODE))
        x = jnp.concatenate([jnp.broadcast_to(obs, (DRAWS, *obs.shape)), z], -1)
        # Searched without a gradient, then trained on the nearest draw alone.
        tried = apply(jax.lax.stop_gradient(net), x)
        nearest = jnp.argmin(jnp.mean((tried - chunks[:, 0]) ** 2, -1), 0)
        return jnp.mean((apply(net, x[nearest, jnp.arange(len(obs))]) - chunks[:, 0]) ** 2)

    def policy(self, net, key, obs):
        z = jax.random.normal(key, (len(obs), CODE))
        return apply(net, jnp.concatenate([obs, z], -1))[:, None]


class Diffusion(Peer):
    name = "diffusion policy"
    #: Share of the signal that is left after each step of noise (Nichol and Dhariwal 2021).
    SIGNAL = np.cos((np.arange(NOISE_STEPS + 1) / NOISE_STEPS + 0.008) / 1.008 * np.pi / 2) ** 2

    def __init__(self, demos, updates, seed):
        actions = demos.chunks.shape[2] * CHUNK
        super().__init__(demos, updates, demos.obs.shape[1] + actions + 1, actions, seed)

    def clean(self, net, noisy, step, obs):
        at = jnp.broadcast_to(2.0 * step / NOISE_STEPS - 1, (len(obs), 1))
        return apply(net, jnp.concatenate([obs, noisy, at], -1))

    def loss(self, net, key, obs, chunks):
        step_key, noise_key = jax.random.split(key)
        target = (chunks / self.demos.action_std).reshape(len(obs), -1)
        step = jax.random.randint(step_key, (len(obs), 1), 1, NOISE_STEPS + 1)
        signal = jnp.asarray(self.SIGNAL)[step]
        noise = jax.random.normal(noise_key, target.shape)
        noisy = jnp.sqrt(signal) * target + jnp.sqrt(1 - signal) * noise
        return jnp.mean((self.clean(net, noisy, step, obs) - target) ** 2)

    def policy(self, net, key, obs):
        x = jax.random.normal(key, (len(obs), self.demos.chunks.shape[2] * CHUNK))
        steps = np.linspace(NOISE_STEPS, 0, DDIM_STEPS + 1).round().astype(int)
        for now, then in zip(steps, steps[1:]):
            clean = self.clean(net, x, now, obs)
            noise = (x - np.sqrt(self.SIGNAL[now]) * clean) / np.sqrt(1 - self.SIGNAL[now])
            x = np.sqrt(self.SIGNAL[then]) * clean + np.sqrt(1 - self.SIGNAL[then]) * noise
        return x.reshape(len(obs), CHUNK, -1) * self.demos.action_std


class SogBc:
    name = "SOG-BC"
    train_s = float("nan")

    def __init__(self, path, rollouts):
        self.meta, self.params = load(path)
        k = self.params["actor.latent.weight"].shape[1]
        self.codes = np.eye(k)[np.arange(rollouts) % k]

    def act(self, _, obs):
        p, clip = self.params, float(self.meta["obs.clip"])
        x = np.clip((obs - p["obs.mean"]) / np.sqrt(p["obs.var"] + 1e-8), -clip, clip)
        h = np.tanh(x @ p["actor.state.0.weight"].T + p["actor.state.0.bias"])
        s = h @ p["actor.state.1.weight"].T + p["actor.state.1.bias"]
        s = s + self.codes[: len(obs)] @ p["actor.latent.weight"].T + p["actor.latent.bias"]
        mean = np.tanh(s) @ p["actor.mean.weight"].T + p["actor.mean.bias"]
        scale = self.meta.get("mean.scale", "none")
        return (mean if scale == "none" else float(scale) * np.tanh(mean))[:, None]


def microseconds(policy, obs):
    """Of one action of one robot."""
    key = jax.random.PRNGKey(0)
    policy.act(key, obs[:1])
    times = []
    for _ in range(300):
        begin = time.perf_counter()
        policy.act(key, obs[:1])
        times.append(time.perf_counter() - begin)
    return 1e6 * np.median(times)


def evaluate(policy, task, returns, rollouts, execute):
    xml, skip, reward, values = TASKS[task]
    planar = task.startswith(("walker2d", "hopper"))
    horizon = 1000 if planar or task.startswith("humanoid") else 200
    rng = np.random.default_rng(0)
    envs = [Locomotion(xml, skip, reward) for _ in range(rollouts)]
    for env in envs:
        reset(task, env, rng)
    earned = np.zeros((rollouts, horizon, len(values)))
    # What the best way is told by: rewards, or how far the speed is from the way's.
    told = np.zeros_like(earned)
    alive, fell, queue = np.ones(rollouts, bool), np.zeros(rollouts, bool), []
    for t in range(horizon):
        obs = np.stack([observe(task, env.data) for env in envs])
        if not queue:
            chunk = policy.act(jax.random.PRNGKey(1_000_000 + t), obs)
            queue = list(np.moveaxis(chunk, 1, 0)[:execute])
        actions = queue.pop(0)
        if t == 0:
            us = microseconds(policy, obs)
        for i in np.flatnonzero(alive):
            env, x = envs[i], envs[i].data.qpos[0]
            env.step(actions[i], values[0])
            earned[i, t] = [env.reward(env, env.before, actions[i], v) for v in values]
            speed = (env.data.qpos[0] - x) / env.dt
            told[i, t] = [-abs(speed - v) for v in values] if planar else earned[i, t]
            fell[i] = failed(task, env.data)
            alive[i] = not fell[i]
        if not alive.any():
            break
    best = told.sum(1).argmax(1)
    own = earned.sum(1)[np.arange(rollouts), best]
    found = {way for way, sum in zip(best, own) if sum >= 0.5 * returns[way]}
    quarters = told.reshape(rollouts, QUARTERS, -1, len(values)).sum(2).argmax(2)
    switches = (quarters[:, 1:] != quarters[:, :-1])[~fell].sum() / max((~fell).sum(), 1)
    return own.mean(), len(found) / len(values), switches, fell.sum(), us


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demos")
    parser.add_argument("policy", help="SOG-BC's policy file")
    parser.add_argument("--rollouts", type=int, default=96)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--execute", type=int, default=1, help="actions of a chunk that are executed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    demos = Demonstrations(options.demos)
    print(f"{demos.task}, {options.rollouts} rollouts, {options.updates} updates, seed {options.seed}")
    print("| | return | found | switches | falls | training s | us |")
    print("|---|---|---|---|---|---|---|")
    makers = [lambda: SogBc(options.policy, options.rollouts)] + [
        lambda peer=peer: peer(demos, options.updates, options.seed) for peer in (Imle, Diffusion, Bc)
    ]
    for make in makers:
        policy = make()
        figures = evaluate(policy, demos.task, demos.returns, options.rollouts, options.execute)
        own, found, switches, falls, us = figures
        spent = "" if np.isnan(policy.train_s) else f"{policy.train_s:.0f}"
        row = f"{own:.1f} | {found:.0%} | {switches:.2f} | {falls} | {spent} | {us:.0f}"
        print(f"| {policy.name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
