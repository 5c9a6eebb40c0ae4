"""How well six unlabelled shapes are drawn, beside a labelled peer.

    python -m venv v && v/bin/pip install numpy scipy gmr robot/python/
    cargo xtask data lasa-handwriting
    v/bin/python tests/independent/handwriting.py --sog target/release/sog --work /tmp/handwriting

Leave-one-out over the drawings of each shape: in fold i drawing i of every shape is held out, and SOG-BC
learns the other 36 as `examples/handwriting` says, without a label. Each of its codes then draws from where
the held-out drawing starts, for as long as the longest drawing that was seen of the shape, by a pen with the lag
of the example's; the code of a shape is the one that draws the 6 seen drawings of that shape best. The peer is told the shapes: Gaussian mixture regression of position on time
(package `gmr`), fitted to the 6 seen drawings of one shape. Both are compared with the held-out drawing: mean
distance in mm after dynamic time warping of paths that are sampled evenly along their length.

With --seeds N the 42 drawings are learned N times more, and it is counted how often all six shapes have a code
of their own, and every drawing that of its shape.
"""

import argparse
import json
import subprocess
import warnings
from pathlib import Path

import numpy as np
import scipy.io
from gmr import GMM
from sog_robot.policy import Policy

SHAPES = ["Angle", "Sine", "Spoon", "Trapezoid", "WShape", "Worm"]
#: Points of a path when paths are compared.
POINTS = 100
#: Components of the peer's mixture.
COMPONENTS = 10
DT = 0.02
#: As in `examples/handwriting/task.toml`.
PHASE_HZ = 0.125
#: Of the servo in `examples/handwriting/pen.xml`, kv/kp.
LAG_S = 0.1


def drawings(folder):
    """Position in cm, `[T, 2]`, and seconds of each drawing of each shape."""

    def of(shape):
        demos = scipy.io.loadmat(folder / f"{shape}.mat", simplify_cells=True)["demos"]
        return [(demo["pos"].T / 10, demo["t"][-1]) for demo in demos]

    return {shape: of(shape) for shape in SHAPES}


def evenly(path):
    """The path sampled evenly along its length."""
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    keep = np.r_[True, np.diff(along) > 0]
    at = np.linspace(0, along[-1], POINTS)
    return np.stack([np.interp(at, along[keep], path[keep, i]) for i in range(2)], axis=1)


def distance(a, b):
    """Mean distance in mm along the best warping of two paths (dynamic time warping)."""
    costs = np.linalg.norm(evenly(a)[:, None] - evenly(b)[None], axis=2)
    total = np.full((POINTS + 1, POINTS + 1), np.inf)
    length = np.zeros((POINTS + 1, POINTS + 1))
    total[0, 0] = 0
    for i in range(1, POINTS + 1):
        for j in range(1, POINTS + 1):
            before = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: total[at])
            total[i, j] = total[before] + costs[i - 1, j - 1]
            length[i, j] = length[before] + 1
    return 10 * total[-1, -1] / length[-1, -1]


def draw(policy, code, start, seconds):
    """What a code draws from `start` in so many seconds, by a pen whose servo lags."""
    at, path = np.array(start, float), [np.array(start, float)]
    for step in range(round(seconds / DT)):
        turn = 2 * np.pi * PHASE_HZ * DT * step
        target = policy.act([*at, np.sin(turn), np.cos(turn)], policy.one_hot(code))
        at = target + (at - target) * np.exp(-DT / LAG_S)
        path.append(at)
    return np.array(path)


def code_of(policy, seen):
    """The code that draws these drawings best (two of them say enough)."""

    def misses(code):
        return np.mean([distance(draw(policy, code, p[0], seconds), p) for p, seconds in seen[:2]])

    return min(range(6), key=misses)


def picture(policy, shapes, file):
    """The drawings in grey, and what the code of each shape draws from a start of its own."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
    figure, panels = pyplot.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for panel, colour, (shape, paths) in zip(panels.flat, colours, shapes.items()):
        code = code_of(policy, paths)
        for path, _ in paths:
            panel.plot(*path.T, color="0.75", linewidth=1)
        start = np.mean([path[0] for path, _ in paths], axis=0)
        drawn = draw(policy, code, start, max(seconds for _, seconds in paths))
        panel.plot(*drawn.T, color=colour, linewidth=2.5)
        panel.plot(*drawn[0], "o", color=colour)
        panel.set(title=f"{shape}: code {code}", aspect="equal")
        panel.tick_params(labelsize=8)
    panels[1][0].set(xlabel="x, cm", ylabel="y, cm")
    figure.savefig(file, dpi=110)


def peer(seen, seed):
    """Gaussian mixture regression of position on time: the path of a shape."""
    times = np.linspace(0, 1, POINTS)

    def timed(path):
        at = np.linspace(0, 1, len(path))
        return np.stack([times] + [np.interp(times, at, path[:, i]) for i in range(2)], axis=1)

    data = np.concatenate([timed(path) for path in seen])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = GMM(n_components=COMPONENTS, random_state=seed)
        mixture.from_samples(data, init_params="kmeans++")
        return mixture.predict(np.array([0]), times[:, None])


class Sog:
    """The programs of this project."""

    def __init__(self, binary, work, task, folder):
        self.binary, self.work, self.task, self.folder = binary, work, task, folder
        work.mkdir(parents=True, exist_ok=True)
        self.all = work / "all.safetensors"
        files = [str(folder / f"{shape}.mat") for shape in SHAPES]
        self.run("demos", "import", "--task", task, "--from", *files, "--mode-per-file", "--out", self.all, "--force")

    def run(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"sog {arguments}: {done.stderr}")
        return done.stdout

    def without(self, held_out):
        """The demonstrations without drawing `held_out` of each shape."""
        out = self.work / f"without-{held_out}.safetensors"
        drops = [7 * shape + held_out for shape in range(len(SHAPES))]
        arguments = [a for drop in drops for a in ("--drop", drop)]
        self.run("demos", "clean", self.all, "--keep-idle", *arguments, "--out", out, "--force")
        return out

    def train(self, demos, name, seed):
        out = self.work / name
        if not (out / "policy.safetensors").exists():
            self.run(
                "train", "--task", self.task, "--algo", "sog-bc", "--demos", demos, "--out", out,
                "--codes", 6, "--seed", seed,
            )
        return out / "policy.safetensors"

    def table(self, policy):
        """Drawings by code and shape."""
        text = self.run("embed", "--policy", policy, "--demos", self.all, "--json")
        return np.array(json.loads(text)["confusion"])


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sog", default=str(root / "target/release/sog"))
    parser.add_argument("--data", type=Path, default=root / ".data/lasa-handwriting")
    parser.add_argument("--task", default=str(root / "examples/handwriting"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="draw what a policy of all drawings does (matplotlib)")
    options = parser.parse_args()
    sog = Sog(options.sog, options.work, options.task, options.data)
    shapes = drawings(options.data)

    if options.picture:
        picture(Policy.load(sog.train(sog.all, "seed-0", 100)), shapes, options.picture)

    ours, theirs = {s: [] for s in SHAPES}, {s: [] for s in SHAPES}
    for fold in range(options.folds):
        policy = Policy.load(sog.train(sog.without(fold), f"fold-{fold}", fold))
        for shape, paths in shapes.items():
            seen = [path for i, path in enumerate(paths) if i != fold]
            code = code_of(policy, seen)
            path, longest = paths[fold][0], max(seconds for _, seconds in seen)
            ours[shape].append(distance(draw(policy, code, path[0], longest), path))
            theirs[shape].append(distance(peer([path for path, _ in seen], fold), path))
        print(f"fold {fold}:", {s: f"{ours[s][-1]:.2f} / {theirs[s][-1]:.2f}" for s in SHAPES}, flush=True)
    print(f"{'shape':<12}{'SOG-BC, unlabelled':>20}{'GMR, labelled':>16}   mm after time warping")
    for shape in SHAPES:
        print(f"{shape:<12}{np.mean(ours[shape]):>20.2f}{np.mean(theirs[shape]):>16.2f}")
    mean = [np.mean([np.mean(all[s]) for s in SHAPES]) for all in (ours, theirs)]
    print(f"{'mean':<12}{mean[0]:>20.2f}{mean[1]:>16.2f}   ratio {mean[0] / mean[1]:.2f}")

    good = 0
    for seed in range(options.seeds):
        table = sog.table(sog.train(sog.all, f"seed-{seed}", 100 + seed))
        # Six shapes of seven drawings, each in a code of its own.
        own = bool(((table == 7).sum(axis=0) == 1).all() and ((table == 7).sum(axis=1) == 1).all())
        good += own
        if not own:
            print(f"seed {seed}:\n{table}")
    if options.seeds:
        print(f"six of six shapes with a code of their own: {good} of {options.seeds} seeds")


if __name__ == "__main__":
    main()
