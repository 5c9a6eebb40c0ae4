"""The three updates of benches/engine.rs in PyTorch on one thread, for comparison.

    python -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python engine/benches/pytorch.py                # prints JSON, microseconds per update
    cargo bench -p sog-engine --bench engine                 # the same on this engine

Sizes: S=27, K=6 one-hot codes, A=8, H=128. SOG-BC and PPO: minibatch 64; discriminator: 128 expert
rows, 128 policy rows and 128 mixtures for the gradient penalty. The search is factored here too (the
state branch runs once), and Adam runs both in PyTorch's default form and fused; the better counts.
Run both within the same few minutes on an otherwise idle machine and compare the medians.
"""

import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
S, K, A, H = 27, 6, 8, 128


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
    adam = torch.optim.Adam(net.parameters(), 1e-5, fused=fused)
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
    adam = torch.optim.Adam(net.parameters(), 1e-5, fused=fused)
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
    adam = torch.optim.Adam(params, 1e-5, fused=fused)
    s, a, z = torch.randn(64, S), torch.randn(64, A), torch.eye(K)[torch.randint(K, (64,))]
    advantages, targets = torch.randn(64), torch.randn(64)
    with torch.no_grad():
        old = torch.distributions.Normal(net(s, z), net.log_std.exp()).log_prob(a).sum(-1)

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


def median_us(update, warm_up=50, samples=40, updates=25):
    for _ in range(warm_up):
        update()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(updates):
            update()
        times.append((time.perf_counter() - start) / updates * 1e6)
    return statistics.median(times)


if __name__ == "__main__":
    cases = {"sog_bc_update_us": sog_bc, "discriminator_update_us": discriminator, "ppo_update_us": ppo}
    result = {"torch": torch.__version__}
    for name, case in cases.items():
        result[name] = round(min(median_us(case(fused)) for fused in (None, True)), 1)
    print(json.dumps(result))
