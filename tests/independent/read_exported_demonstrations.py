"""Compares what `sog demos export` wrote with the demonstration file it came from, read by Minari and
by pyarrow in LeRobot's layout.

    sog demos export demos.safetensors --format minari --out runs/minari
    sog demos export demos.safetensors --format lerobot --out runs/lerobot     # if it was built in
    runs/venv/bin/python tests/independent/read_exported_demonstrations.py demos.safetensors \\
        --minari runs/minari --lerobot runs/lerobot
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--minari")
    parser.add_argument("--lerobot")
    args = parser.parse_args()
    ours = load_file(args.file)
    episodes = [
        (o[:n], a[:n]) for o, a, n in zip(ours["observations"], ours["actions"], ours["lengths"])
    ]
    if args.minari:
        from minari import MinariDataset

        dataset = MinariDataset(str(Path(args.minari) / "data"))
        assert dataset.total_episodes == len(episodes)
        assert dataset.total_steps == sum(len(a) for _, a in episodes)
        for (o, a), e in zip(episodes, dataset.iterate_episodes(), strict=True):
            assert e.observations.dtype == np.float32 and e.truncations.dtype == bool
            assert np.array_equal(e.observations[:-1], o) and np.array_equal(e.actions, a)
            assert np.array_equal(e.observations[-1], o[-1])
            assert e.truncations[-1] and not e.truncations[:-1].any() and not e.terminations.any()
            assert dataset.observation_space.contains(e.observations[0])
        print(f"minari: {len(episodes)} episodes equal")
    if args.lerobot:
        import pyarrow.parquet as pq

        root = Path(args.lerobot)
        info = json.loads((root / "meta/info.json").read_text())
        assert info["codebase_version"] == "v2.1" and info["total_episodes"] == len(episodes)
        lines = (root / "meta/episodes.jsonl").read_text().splitlines()
        stats = (root / "meta/episodes_stats.jsonl").read_text().splitlines()
        tasks = [json.loads(line) for line in (root / "meta/tasks.jsonl").read_text().splitlines()]
        assert [task["task_index"] for task in tasks] == list(range(info["total_tasks"]))
        # Modes are numbered as tasks, in their order.
        modes = ours["modes"].tolist() if "modes" in ours else [0] * len(episodes)
        index = {mode: i for i, mode in enumerate(sorted(set(modes)))}
        assert len(index) == len(tasks)
        total = 0
        for n, (o, a) in enumerate(episodes):
            path = info["data_path"].format(
                episode_chunk=n // info["chunks_size"], episode_index=n
            )
            table = pq.read_table(root / path)
            assert set(table.column_names) == set(info["features"])
            assert np.array_equal(np.stack(table["observation.state"].to_numpy()), o)
            assert np.array_equal(np.stack(table["action"].to_numpy()), a)
            assert table["index"].to_pylist() == list(range(total, total + len(a)))
            assert set(table["episode_index"].to_pylist()) == {n}
            assert set(table["task_index"].to_pylist()) == {index[modes[n]]}
            times = table["timestamp"].to_numpy()
            assert np.array_equal(times, (np.arange(len(a)) / info["fps"]).astype(np.float32))
            assert json.loads(lines[n])["length"] == len(a)
            assert json.loads(lines[n])["tasks"] == [tasks[index[modes[n]]]["task"]]
            mean = json.loads(stats[n])["stats"]["action"]["mean"]
            assert np.allclose(mean, a.astype(np.float64).mean(0), atol=1e-9)
            total += len(a)
        assert info["total_frames"] == total
        print(f"lerobot: {len(episodes)} episodes equal, tasks {[task['task'] for task in tasks]}")


if __name__ == "__main__":
    main()
