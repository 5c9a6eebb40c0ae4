"""The VAE that `sog image` is measured against, once more in PyTorch.

    pip install torch numpy
    python tests/independent/vae_pictures.py --data .data/mnist --latent 2 --width 32 --updates 3600

Layers, loss, optimiser and schedule as docs/images.md describes them, written anew on torch.nn, with PyTorch's own
gradients, batch normalisation and Adam; nothing of this project is used. Prints the mean squared error of held-out
pictures, made from the encoder's mean, on the scale from 0 to 1, and the share of them whose label is the most
frequent among those of the 15 nearest others by code: `vae_reconstruction_mse` and `vae_neighbour_agreement` of
`sog image eval`.
"""

import argparse
import gzip
import math
import os
import time

import numpy as np
import torch
from torch import nn

SIDES = [4, 7, 14, 28]


def idx(folder, name):
    path = os.path.join(folder, name)
    opened = open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz", "rb")
    with opened as f:
        data = f.read()
    dims = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dims)


def kernel(i):
    return 4 if SIDES[i] == 2 * SIDES[i - 1] else 3


def networks(latent, width):
    channels = [width << (2 - i) for i in range(3)] + [1]
    decoder = [
        nn.Linear(latent, channels[0] * 16, bias=False),
        nn.Unflatten(1, (channels[0], 4, 4)),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    ]
    encoder = []
    for i in range(1, 4):
        last = i == 3
        decoder.append(nn.ConvTranspose2d(channels[i - 1], channels[i], kernel(i), 2, 1, bias=last))
        decoder += [nn.Tanh()] if last else [nn.BatchNorm2d(channels[i]), nn.ReLU()]
    for i in range(3, 0, -1):
        first = i == 3
        encoder.append(nn.Conv2d(channels[i], channels[i - 1], kernel(i), 2, 1, bias=first))
        encoder += ([] if first else [nn.BatchNorm2d(channels[i - 1])]) + [nn.LeakyReLU(0.2)]
    encoder += [nn.Flatten(), nn.Linear(channels[0] * 16, 2 * latent)]
    nets = nn.Sequential(*encoder), nn.Sequential(*decoder)
    for net in nets:
        for layer in net:
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0, 0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return nets


def agreement(codes, labels, k=15):
    right = 0
    for part in torch.arange(len(codes)).split(500):
        far = torch.cdist(codes[part], codes)
        far[torch.arange(len(part)), part] = math.inf
        near = labels[far.topk(k, largest=False).indices]
        votes = nn.functional.one_hot(near, 10).sum(1)
        right += (votes.argmax(1) == labels[part]).sum().item()
    return right / len(codes)


def main(a):
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    scaled = lambda name: torch.tensor(idx(a.data, name).astype(np.float32) / 127.5 - 1)[:, None]
    train, test = scaled("train-images-idx3-ubyte"), scaled("t10k-images-idx3-ubyte")
    labels = torch.tensor(idx(a.data, "t10k-labels-idx1-ubyte").astype(np.int64))
    encoder, decoder = networks(a.latent, a.width)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999))
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / a.updates)
    order, begun = torch.randperm(len(train)), time.process_time()
    for step in range(a.updates):
        at = step * a.batch % (len(train) - a.batch)
        if step and at < a.batch:
            order = torch.randperm(len(train))
        y = train[order[at : at + a.batch]]
        mean, log_var = encoder(y).chunk(2, 1)
        log_var = log_var.clamp(-12, 4)
        made = decoder(mean + (0.5 * log_var).exp() * torch.randn_like(mean))
        error = ((made - y) ** 2).sum((1, 2, 3)).mean()
        kl = 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(1).mean()
        variance = (error / y[0].numel()).detach().clamp_min(1e-6 / y[0].numel())
        adam.zero_grad()
        (error / (2 * variance) + kl).backward()
        adam.step()
        falling.step()
        if step % 200 == 199:
            print(f"update {step + 1}: mse {error.item() / y[0].numel() / 4:.5f}, KL {kl.item():.2f}", flush=True)
    spent = time.process_time() - begun
    encoder.eval(), decoder.eval()
    with torch.no_grad():
        codes = torch.cat([encoder(y).chunk(2, 1)[0] for y in test.split(500)])
        made = torch.cat([decoder(z) for z in codes.split(500)])
        mse = ((made - test) ** 2).mean().item() / 4
    print(f"held out: mse {mse:.4f}, neighbours agree {agreement(codes, labels):.3f}, {spent:.0f} s of processor time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the four IDX files")
    parser.add_argument("--latent", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--updates", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
