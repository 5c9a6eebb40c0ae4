"""The three updates of cases/mod.rs in PyTorch and in the engine, in turns, in one run.

    python -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python engine/benches/pytorch.py                # a table; with --json, JSON

PyTorch and the engine's one thread share one core, on which they take turns of some milliseconds;
the engine on two threads takes its turn on all cores. What counts is the ratio of the medians.
Sizes: S=27, K=6 one-hot codes, A=8, H=128. SOG-BC and PPO: minibatch 64; discriminator: 128 expert
rows, 128 policy rows and 128 mixtures for the gradient penalty. The search is factored here too (the
state branch runs once), and Adam runs both in PyTorch's default form and fused; the better counts.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
S, K, A, H = 27, 6, 8, 128
# Updates in a turn. The last is long, for the scheduler to give the second thread a core of its own.
UPDATES = {"torch": 10, "torch_fused": 10, "engine_1": 100, "engine_2": 500}
# Small enough that no number of updates changes what an update does.
LR = 1e-7


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.s0, self.s1 = nn.Linear(S, H), nn.Linear(H, H)
        self.z, self.mean = nn.Linear(K, H), nn.Linear(H, A)
        self.log_std = nn.Parameter(torch.zeros(A))

    def base(self, s):
        return self.s1(torch.tanh(self.s0(s)))

    def forward(self, s, z):
        return self.mean(torch.tanh(self.base(s) + self.z(z)))


def mlp(inputs, activation):
    return nn.Sequential(nn.Linear(inputs, H), activation(), nn.Linear(H, H), activation(), nn.Linear(H, 1))


def sog_bc(fused):
    net, codes = Policy(), torch.eye(K)
    adam = torch.optim.Adam(net.parameters(), LR, fused=fused)
    s, a = torch.randn(64, S), torch.randn(64, A)

    def update():
        with torch.no_grad():
            hidden = torch.tanh(net.base(s)[None] + net.z(codes)[:, None])
            losses = (net.mean(hidden) - a).square().sum(-1).mean(-1)
            best = codes[losses.argmin()][None]
        loss = (net(s, best) - a).square().sum(-1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return update


def discriminator(fused):
    net = mlp(S + A, nn.LeakyReLU)
    adam = torch.optim.Adam(net.parameters(), LR, fused=fused)
    expert, policy, ones, zeros = (torch.randn(128, S + A), torch.randn(128, S + A),
                                   torch.ones(128, 1), torch.zeros(128, 1))

    def update():
        loss = F.binary_cross_entropy_with_logits(net(expert), ones)
        loss = loss + F.binary_cross_entropy_with_logits(net(policy), zeros)
        mix = torch.rand(128, 1)
        x = (mix * expert + (1 - mix) * policy).requires_grad_(True)
        out = net(x)
        g, = torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)
        loss = loss + 10 * (g.norm(dim=1) - 1).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return update


def ppo(fused):
    net, critic = Policy(), mlp(S, nn.Tanh)
    params = list(net.parameters()) + list(critic.parameters())
    adam = torch.optim.Adam(params, LR, fused=fused)
    s, z = torch.randn(64, S), torch.eye(K)[torch.randint(K, (64,))]
    advantages, targets = torch.randn(64), torch.randn(64)
    with torch.no_grad():
        drawn_from = torch.distributions.Normal(net(s, z), net.log_std.exp())
        a = drawn_from.sample()
        old = drawn_from.log_prob(a).sum(-1)

    def update():
        dist = torch.distributions.Normal(net(s, z), net.log_std.exp().expand(64, A), validate_args=False)
        ratio = (dist.log_prob(a).sum(-1) - old).exp()
        policy_loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
        entropy = dist.entropy().sum(-1).mean()
        value_loss = 0.5 * (critic(s).squeeze(-1) - targets).square().mean()
        loss = policy_loss - 0.0 * entropy + 0.5 * value_loss
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 0.5)
        adam.step()

    return update


class Engine:
    """The engine's benchmark in a process of its own that times updates when asked to."""

    def __init__(self, program, threads, cores):
        self.process = subprocess.Popen(
            [program, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"RAYON_NUM_THREADS": str(threads)},
            preexec_fn=lambda: os.sched_setaffinity(0, cores))

    def us(self, case, updates):
        print(case, updates, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def build():
    """Builds the engine's benchmark and gives the path of its program."""
    root = pathlib.Path(__file__).resolve().parents[2]
    command = "cargo bench -p sog-engine --bench engine --no-run --message-format json".split()
    messages = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    programs = [json.loads(line).get("executable") for line in messages.splitlines()]
    return next(program for program in programs if program)


def torch_us(update, updates):
    start = time.perf_counter()
    for _ in range(updates):
        update()
    return (time.perf_counter() - start) / updates * 1e6


def compare(cases, rounds=80):
    """Medians of microseconds an update: case, then what was timed."""
    cores = os.sched_getaffinity(0)
    program, one = build(), {min(cores)}
    os.sched_setaffinity(0, one)
    engines = {"engine_1": Engine(program, 1, one)}
    if len(cores) > 1:
        engines["engine_2"] = Engine(program, 2, cores)
    result = {}
    for name, case in cases.items():
        turns = {"torch": case(None), "torch_fused": case(True)}
        turns = {key: lambda n, update=update: torch_us(update, n) for key, update in turns.items()}
        turns |= {key: lambda n, engine=engine: engine.us(name, n) for key, engine in engines.items()}
        times = {key: [] for key in turns}
        for turn_of_all in range(rounds + 3):
            for key, turn in turns.items():
                us = turn(UPDATES[key])
                if turn_of_all >= 3:
                    times[key].append(us)
        medians = {key: statistics.median(values) for key, values in times.items()}
        medians["torch"] = min(medians["torch"], medians.pop("torch_fused"))
        result[name] = {key: round(us, 1) for key, us in medians.items()}
        result[name]["ratio"] = round(medians["torch"] / medians["engine_1"], 1)
        if "engine_2" in medians:
            result[name]["two_threads"] = round(medians["engine_1"] / medians["engine_2"], 2)
    return result


if __name__ == "__main__":
    found = compare({"sog_bc": sog_bc, "discriminator": discriminator, "ppo": ppo})
    if "--json" in sys.argv[1:]:
        print(json.dumps(found | {"version": torch.__version__}))
    else:
        print(f"medians in us       PyTorch {torch.__version__:<8} engine      ratio   engine      gain")
        print("                    1 thread         1 thread            2 threads")
        for name, row in found.items():
            print(f"{name:<18}{row['torch']:>10}{row['engine_1']:>17}{row['ratio']:>9} x"
                  f"{row.get('engine_2', '-'):>10}{row.get('two_threads', '-'):>9} x")
