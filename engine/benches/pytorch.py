"""The three updates of cases/mod.rs in PyTorch and in the engine, in turns, in one run.

    python -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python engine/benches/pytorch.py                # a table; with --json, JSON

With --table it times PyTorch alone, on a device and over sizes, a line of JSON each:

    python engine/benches/pytorch.py --table --device cuda --hidden 128,1024 --batch 64,4096

PyTorch and the engine's one thread share one core, on which they take turns of some milliseconds;
the engine on two threads takes its turn on all cores. What counts is the ratio of the medians.
Sizes: S=27, K=6 one-hot codes, A=8, H=128. SOG-BC and PPO: minibatch 64; discriminator: 128 expert
rows, 128 policy rows and 128 mixtures for the gradient penalty. The search is factored here too (the
state branch runs once), and Adam runs both in PyTorch's default form and fused; the better counts.
"""

import argparse
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
    def __init__(self, h):
        super().__init__()
        self.s0, self.s1 = nn.Linear(S, h), nn.Linear(h, h)
        self.z, self.mean = nn.Linear(K, h), nn.Linear(h, A)
        self.log_std = nn.Parameter(torch.zeros(A))

    def base(self, s):
        return self.s1(torch.tanh(self.s0(s)))

    def forward(self, s, z):
        return self.mean(torch.tanh(self.base(s) + self.z(z)))


def mlp(inputs, activation, h):
    return nn.Sequential(nn.Linear(inputs, h), activation(), nn.Linear(h, h), activation(), nn.Linear(h, 1))


def sog_bc(fused, h=H, rows=64):
    net, codes = Policy(h), torch.eye(K)
    adam = torch.optim.Adam(net.parameters(), LR, fused=fused)
    s, a = torch.randn(rows, S), torch.randn(rows, A)

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


def discriminator(fused, h=H, rows=128):
    net = mlp(S + A, nn.LeakyReLU, h)
    adam = torch.optim.Adam(net.parameters(), LR, fused=fused)
    expert, policy, ones, zeros = (torch.randn(rows, S + A), torch.randn(rows, S + A),
                                   torch.ones(rows, 1), torch.zeros(rows, 1))

    def update():
        loss = F.binary_cross_entropy_with_logits(net(expert), ones)
        loss = loss + F.binary_cross_entropy_with_logits(net(policy), zeros)
        mix = torch.rand(rows, 1)
        x = (mix * expert + (1 - mix) * policy).requires_grad_(True)
        out = net(x)
        g, = torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)
        loss = loss + 10 * (g.norm(dim=1) - 1).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return update


def ppo(fused, h=H, rows=64):
    net, critic = Policy(h), mlp(S, nn.Tanh, h)
    params = list(net.parameters()) + list(critic.parameters())
    adam = torch.optim.Adam(params, LR, fused=fused)
    s, z = torch.randn(rows, S), torch.eye(K)[torch.randint(K, (rows,))]
    advantages, targets = torch.randn(rows), torch.randn(rows)
    with torch.no_grad():
        drawn_from = torch.distributions.Normal(net(s, z), net.log_std.exp())
        a = drawn_from.sample()
        old = drawn_from.log_prob(a).sum(-1)

    def update():
        dist = torch.distributions.Normal(net(s, z), net.log_std.exp().expand(rows, A), validate_args=False)
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


def image_vae(fused, width, rows, latent=2):
    """The VAE of `sog image` on pictures of 28 x 28."""
    up = lambda i, o, kernel: nn.ConvTranspose2d(i, o, kernel, 2, 1, bias=False)
    down = lambda i, o, kernel, bias=False: nn.Conv2d(i, o, kernel, 2, 1, bias=bias)
    norm, leaky = nn.BatchNorm2d, lambda: nn.LeakyReLU(0.2)
    decoder = nn.Sequential(
        nn.Linear(latent, 64 * width, bias=False), nn.Unflatten(1, (4 * width, 4, 4)), norm(4 * width), nn.ReLU(),
        up(4 * width, 2 * width, 3), norm(2 * width), nn.ReLU(), up(2 * width, width, 4), norm(width), nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh())
    encoder = nn.Sequential(
        down(1, width, 4, True), leaky(), down(width, 2 * width, 4), norm(2 * width), leaky(),
        down(2 * width, 4 * width, 3), norm(4 * width), leaky(), nn.Flatten(), nn.Linear(64 * width, 2 * latent))
    adam = torch.optim.Adam([*decoder.parameters(), *encoder.parameters()], LR, fused=fused)
    y = torch.rand(rows, 1, 28, 28) * 2 - 1

    def update():
        mean, log_var = encoder(y).chunk(2, 1)
        log_var = log_var.clamp(-12, 4)
        made = decoder(mean + (0.5 * log_var).exp() * torch.randn(rows, latent))
        square = (made - y).square().sum((1, 2, 3)).mean()
        variance = (square / 784).detach()
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        adam.zero_grad()
        (square / (2 * variance) + kl).backward()
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


def device_us(update, device, seconds):
    """Median of microseconds an update, in blocks that the device finishes."""
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None

    def block(updates):
        finish()
        start = time.perf_counter()
        for _ in range(updates):
            update()
        finish()
        return (time.perf_counter() - start) / updates

    block(3)
    updates = max(1, min(1000, int(seconds / 10 / block(3))))
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(block(updates))
    return statistics.median(times) * 1e6


def table(options):
    """Every update over all sizes on a device, Adam in the better of its two forms."""
    device = options.device if options.device == "cpu" or torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "processor, 1 thread"
    end = time.perf_counter() + options.seconds
    numbers = lambda text: [int(number) for number in text.split(",")]
    sizes = [(h, rows) for h in numbers(options.hidden) for rows in numbers(options.batch)]
    of_vectors = {"SOG-BC": sog_bc, "PPO": ppo, "discriminator": discriminator}
    cases = [(what, case, size) for size in sizes for what, case in of_vectors.items()]
    pictures = [(width, rows) for width in numbers(options.width) for rows in numbers(options.pictures)]
    cases += [("VAE on pictures, width for H", image_vae, size) for size in pictures]
    left = 2 * len(cases)
    for what, case, (h, rows) in cases:
        times = []
        for fused in (None, True):
            share = max(0.02, min(0.2, 0.5 * (end - time.perf_counter()) / left))
            times.append(device_us(case(fused, h, rows), device, share))
            left -= 1
        row = {"update": what, "H": h, "batch": rows, "device": name, "µs": round(min(times), 1)}
        print(json.dumps({"what": f"PyTorch {torch.__version__}", "good": None} | row), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hidden", default="128")
    parser.add_argument("--batch", default="64")
    parser.add_argument("--width", default="32", help="channels before the picture, of the VAE")
    parser.add_argument("--pictures", default="128", help="pictures in its minibatch")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    if options.table:
        table(options)
        sys.exit()
    found = compare({"sog_bc": sog_bc, "discriminator": discriminator, "ppo": ppo})
    if options.json:
        print(json.dumps(found | {"version": torch.__version__}))
    else:
        print(f"medians in us       PyTorch {torch.__version__:<8} engine      ratio   engine      gain")
        print("                    1 thread         1 thread            2 threads")
        for name, row in found.items():
            print(f"{name:<18}{row['torch']:>10}{row['engine_1']:>17}{row['ratio']:>9} x"
                  f"{row.get('engine_2', '-'):>10}{row.get('two_threads', '-'):>9} x")
