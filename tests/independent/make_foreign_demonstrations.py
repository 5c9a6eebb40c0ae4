"""Writes the same three demonstrations in every format that `sog demos import` reads, each by the
Python package whose format it is (robomimic's, D4RL's and LeRobot's layouts by h5py and pyarrow).

    python3 -m venv runs/venv
    runs/venv/bin/pip install h5py minari[hdf5,arrow] numpy pandas pyarrow datasets safetensors scipy
    runs/venv/bin/python tests/independent/make_foreign_demonstrations.py formats/tests/data

Every number is one that single precision holds, so that all formats hold the same; they stand in
`expected.csv`, which the tests of `formats` compare with.
"""

import csv
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

LENGTHS = [6, 4, 5]
OBS, ACT = 5, 2
DT = 0.05


def episodes():
    rng = np.random.default_rng(7)
    all = []
    for n, length in enumerate(LENGTHS):
        f32 = lambda *shape: rng.normal(size=shape).astype(np.float32)
        all.append(
            {
                "obs": f32(length + 1, OBS),
                "act": f32(length, ACT),
                "rew": f32(length),
                "terminated": n == 0,
                "truncated": n == 1,
            }
        )
    return all


def expected(out, data):
    with open(out / "expected.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["episode", "step"]
            + [f"obs{i}" for i in range(OBS)]
            + [f"act{i}" for i in range(ACT)]
            + ["rew", "terminated", "truncated"]
        )
        for n, e in enumerate(data):
            for t in range(len(e["act"]) + 1):
                row = [n, t] + [repr(float(x)) for x in e["obs"][t]]
                if t < len(e["act"]):
                    last = t + 1 == len(e["act"])
                    row += [repr(float(x)) for x in e["act"][t]] + [repr(float(e["rew"][t]))]
                    row += [int(last and e["terminated"]), int(last and e["truncated"])]
                else:
                    row += [""] * (ACT + 3)
                writer.writerow(row)


def minari(out, data):
    root = Path(tempfile.mkdtemp())
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    import gymnasium as gym
    from minari import create_dataset_from_buffers
    from minari.data_collector.episode_buffer import EpisodeBuffer

    box = lambda n: gym.spaces.Box(-np.inf, np.inf, (n,), np.float32)
    flags = lambda e, key: [bool(e[key]) and t + 1 == len(e["act"]) for t in range(len(e["act"]))]

    def buffers(observations):
        return [
            EpisodeBuffer(
                id=n,
                seed=n,
                observations=observations(e),
                actions=list(e["act"]),
                rewards=[float(r) for r in e["rew"]],
                terminations=flags(e, "terminated"),
                truncations=flags(e, "truncated"),
                infos={},
            )
            for n, e in enumerate(data)
        ]

    split = lambda e: {"position": list(e["obs"][:, :3]), "velocity": list(e["obs"][:, 3:])}
    dictionary = gym.spaces.Dict({"position": box(3), "velocity": box(2)})
    for name, form, space, observations in [
        ("minari-hdf5", "hdf5", box(OBS), lambda e: list(e["obs"])),
        ("minari-dict", "hdf5", dictionary, split),
        ("minari-arrow", "arrow", box(OBS), lambda e: list(e["obs"])),
        ("minari-arrow-dict", "arrow", dictionary, split),
    ]:
        create_dataset_from_buffers(
            f"sog/{name}-v0",
            buffers(observations),
            observation_space=space,
            action_space=box(ACT),
            data_format=form,
            algorithm_name="none",
            author="sog",
            author_email="nobody@example.org",
            code_permalink="none",
            description="three short episodes of random numbers",
        )
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(root / "sog" / f"{name}-v0" / "data", out / name / "data")
    shutil.rmtree(root)


def flat(data):
    cat = lambda key: np.concatenate([np.asarray(e[key]) for e in data])
    ends = np.cumsum(LENGTHS)
    flag = lambda key: np.concatenate(
        [np.eye(1, len(e["act"]), len(e["act"]) - 1, dtype=bool)[0] & e[key] for e in data]
    )
    observations = np.concatenate([e["obs"][:-1] for e in data])
    following = np.concatenate([e["obs"][1:] for e in data])
    return observations, following, cat("act"), cat("rew"), ends, flag


def d4rl(out, data):
    import h5py

    observations, following, actions, rewards, _, flag = flat(data)
    with h5py.File(out / "d4rl.hdf5", "w") as file:
        put = lambda name, x: file.create_dataset(name, data=x, compression="gzip")
        put("observations", observations)
        put("next_observations", following)
        put("actions", actions)
        put("rewards", rewards)
        put("terminals", flag("terminated"))
        put("timeouts", flag("truncated"))
        file["metadata/algorithm"] = "none"
    # The older data sets have no `timeouts`.
    with h5py.File(out / "d4rl-old.hdf5", "w", libver="latest") as file:
        file["observations"] = observations
        file["next_observations"] = following
        file["actions"] = actions
        file["rewards"] = rewards
        file["terminals"] = flag("terminated")


def robomimic(out, data):
    import h5py

    with h5py.File(out / "robomimic.hdf5", "w") as file:
        group = file.create_group("data")
        group.attrs["total"] = sum(LENGTHS)
        group.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": round(1 / DT)}}
        )
        # Ten apart, so that an alphabetical order shows.
        for n, e in enumerate(data):
            demo = group.create_group(f"demo_{5 * n}")
            demo.attrs["num_samples"] = len(e["act"])
            demo.create_dataset("actions", data=e["act"].astype(np.float64), compression="lzf")
            demo.create_dataset("rewards", data=e["rew"].astype(np.float64))
            dones = np.zeros(len(e["act"]), np.int64)
            dones[-1] = e["terminated"]
            demo.create_dataset("dones", data=dones)
            demo.create_dataset("states", data=np.zeros((len(e["act"]), 7)))
            for prefix, rows in [("obs", slice(None, -1)), ("next_obs", slice(1, None))]:
                obs = e["obs"][rows].astype(np.float64)
                demo.create_dataset(f"{prefix}/eef_pos", data=obs[:, :3], compression="gzip")
                demo.create_dataset(f"{prefix}/gripper", data=obs[:, 3:])
        file.create_group("mask")["train"] = np.array([b"demo_0", b"demo_5"])


def imitation(out, data):
    import datasets

    table = {
        "obs": [e["obs"].tolist() for e in data],
        "acts": [e["act"].tolist() for e in data],
        "infos": [["{}"] * len(e["act"]) for e in data],
        "terminal": [bool(e["terminated"]) for e in data],
        "rews": [e["rew"].tolist() for e in data],
    }
    f32 = datasets.Value("float32")
    lists = lambda feature: datasets.Sequence(feature)
    features = datasets.Features(
        {
            "obs": lists(lists(f32)),
            "acts": lists(lists(f32)),
            "infos": lists(datasets.Value("string")),
            "terminal": datasets.Value("bool"),
            "rews": lists(f32),
        }
    )
    shutil.rmtree(out / "imitation", ignore_errors=True)
    datasets.Dataset.from_dict(table, features=features).save_to_disk(out / "imitation")
    # What older versions of the package wrote.
    np.savez_compressed(
        out / "imitation-old.npz",
        obs=np.concatenate([e["obs"] for e in data]),
        acts=np.concatenate([e["act"] for e in data]),
        rews=np.concatenate([e["rew"] for e in data]),
        infos=np.array([{}] * sum(LENGTHS), dtype=object),
        terminal=np.array([e["terminated"] for e in data]),
        indices=np.cumsum(LENGTHS[:-1]),
    )


def arrays(out, data):
    from safetensors.numpy import save_file

    observations, _, actions, rewards, ends, _ = flat(data)
    most = max(LENGTHS)
    pad = lambda xs, rows, fill: np.stack(
        [np.concatenate([x, np.full((rows - len(x), x.shape[1]), fill, x.dtype)]) for x in xs]
    )
    stacked = {
        "observations": pad([e["obs"] for e in data], most + 1, 0),
        "actions": pad([e["act"] for e in data], most, 0),
    }
    lengths = np.array(LENGTHS, np.uint32)
    # Fortran order, double precision, big-endian: all that NumPy writes without being asked.
    np.savez(
        out / "stacked.npz",
        observations=np.asfortranarray(stacked["observations"].astype(np.float64)),
        actions=stacked["actions"].astype(">f4"),
        lengths=lengths,
        dt=DT,
    )
    nan = {
        "observations": pad([e["obs"] for e in data], most + 1, np.nan),
        "actions": pad([e["act"] for e in data], most, np.nan),
    }
    np.savez_compressed(out / "nan-padded.npz", **nan)
    np.savez(out / "flat.npz", observations=observations, actions=actions, episode_ends=ends)
    numbered = {}
    for n, e in enumerate(data):
        numbered[f"observations_{n}"] = np.asfortranarray(e["obs"])
        numbered[f"actions_{n}"] = e["act"]
    np.savez(out / "numbered.npz", **numbered)
    save_file({**stacked, "lengths": lengths}, out / "stacked.safetensors", {"dt": str(DT)})


def tables(out, data):
    import pandas as pd

    folder = out / "csv"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for n, e in enumerate(data):
        columns = {"t": np.arange(len(e["act"])) * DT}
        columns |= {f"obs_{i}": e["obs"][:-1, i].astype(np.float64) for i in range(OBS)}
        columns |= {f"act_{i}": e["act"][:, i].astype(np.float64) for i in range(ACT)}
        columns["note"] = "by hand"
        pd.DataFrame(columns).to_csv(folder / f"demo_{5 * n}.csv", index=False)
    observations, _, actions, _, _, _ = flat(data)
    both = np.hstack([observations, actions]).astype(np.float64)
    np.savetxt(out / "savetxt.txt", both[: LENGTHS[0]], fmt="%.17g")


def matlab(out, data):
    from scipy.io import savemat

    # As in the LASA handwriting data set: a cell of structures, time along the second axis.
    cell = np.empty((1, len(data)), object)
    wide = np.empty((1, len(data)), object)
    for n, e in enumerate(data):
        pos, vel = e["obs"][:-1, :3].T.astype(np.float64), e["obs"][:-1, 3:].T.astype(np.float64)
        t = np.arange(len(e["act"]))[None] * DT
        cell[0, n] = {"pos": pos, "vel": vel, "act": e["act"].T.astype(np.float64), "t": t, "dt": DT}
        # As in many others: positions over velocities in one matrix each.
        wide[0, n] = np.vstack([pos, vel])
    savemat(out / "lasa.mat", {"demos": cell, "dt": DT, "name": "random"}, do_compression=True)
    savemat(out / "cell.mat", {"data": wide, "dt": DT})


def matlab73(out, data):
    """As MATLAB's `save -v7.3` writes: HDF5, axes reversed, cells and structure arrays as references."""
    import h5py

    def fields(e):
        pos, vel = e["obs"][:-1, :3].astype(np.float64), e["obs"][:-1, 3:].astype(np.float64)
        return {"pos": pos, "vel": vel, "act": e["act"].astype(np.float64), "t": np.arange(len(e["act"]))[:, None] * DT}

    def cell(file, where, name, targets):
        cells = where.create_dataset(name, (len(targets), 1), h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        for n, target in enumerate(targets):
            cells[n, 0] = target.ref

    def write(name, fill):
        with h5py.File(out / name, "w", userblock_size=512) as file:
            fill(file, file.create_group("#refs#"))
            file["dt"] = np.array([[DT]])
        with open(out / name, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")

    def matrices(file, refs):
        both = [np.hstack([fields(e)["pos"], fields(e)["vel"]]) for e in data]
        cell(file, file, "data", [refs.create_dataset(f"m{n}", data=m) for n, m in enumerate(both)])

    def structures(file, refs):
        demos = file.create_group("demos")
        for key in fields(data[0]):
            targets = [refs.create_dataset(f"{key}{n}", data=fields(e)[key]) for n, e in enumerate(data)]
            cell(file, demos, key, targets)

    def cell_of_structures(file, refs):
        targets = [refs.create_group(f"s{n}") for n in range(len(data))]
        for target, e in zip(targets, data):
            for key, value in fields(e).items():
                target[key] = value
        cell(file, file, "demos", targets)

    write("cell-7.3.mat", matrices)
    write("structures-7.3.mat", structures)
    write("cell-of-structures-7.3.mat", cell_of_structures)


def plain_hdf5(out, data):
    import h5py

    with h5py.File(out / "plain.h5", "w") as file:
        for n, e in enumerate(data):
            group = file.create_group(f"trials/trial{5 * n}")
            group["state"] = e["obs"][:-1]
            group["action"] = e["act"]
            group["time_ms"] = np.arange(len(e["act"])) * round(DT * 1000)


def lerobot(out, data):
    # The last episode does something else.
    does, texts = [0, 0, 1], ["draw", "pour"]
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(n, e, start, kind):
        length = len(e["act"])
        vector = lambda x, width: pa.array(
            x.tolist(), pa.list_(pa.float32()) if kind == "v2.1" else pa.list_(pa.float32(), width)
        )
        return pa.table(
            {
                "observation.state": vector(e["obs"][:-1], OBS),
                "action": vector(e["act"], ACT),
                "timestamp": pa.array(np.arange(length, dtype=np.float32) * np.float32(DT)),
                "frame_index": pa.array(np.arange(length)),
                "episode_index": pa.array(np.full(length, n)),
                "index": pa.array(np.arange(start, start + length)),
                "task_index": pa.array(np.full(length, does[n])),
                "next.reward": pa.array(e["rew"]),
                "next.done": pa.array(np.arange(length) + 1 == length),
            }
        )

    names = lambda stem, n: [f"{stem}{i}" for i in range(n)]
    scalar = lambda dtype: {"dtype": dtype, "shape": [1], "names": None}
    features = {
        "observation.state": {"dtype": "float32", "shape": [OBS], "names": names("x", OBS)},
        "action": {"dtype": "float32", "shape": [ACT], "names": names("u", ACT)},
        "timestamp": scalar("float32"),
        "frame_index": scalar("int64"),
        "episode_index": scalar("int64"),
        "index": scalar("int64"),
        "task_index": scalar("int64"),
        "next.reward": scalar("float32"),
        "next.done": scalar("bool"),
    }
    common = {
        "robot_type": "none",
        "total_episodes": len(data),
        "total_frames": sum(LENGTHS),
        "total_tasks": len(texts),
        "chunks_size": 1000,
        "fps": round(1 / DT),
        "splits": {"train": f"0:{len(data)}"},
        "features": features,
    }
    starts = np.cumsum([0] + LENGTHS[:-1])

    old = out / "lerobot-v2.1"
    shutil.rmtree(old, ignore_errors=True)
    (old / "meta").mkdir(parents=True)
    (old / "data/chunk-000").mkdir(parents=True)
    for n, (e, start) in enumerate(zip(data, starts)):
        path = old / f"data/chunk-000/episode_{n:06d}.parquet"
        pq.write_table(table(n, e, start, "v2.1"), path, compression="snappy")
    info = common | {
        "codebase_version": "v2.1",
        "total_videos": 0,
        "total_chunks": 1,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
    }
    (old / "meta/info.json").write_text(json.dumps(info, indent=1))
    lines = [
        json.dumps({"episode_index": n, "tasks": [texts[does[n]]], "length": length})
        for n, length in enumerate(LENGTHS)
    ]
    (old / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    lines = [json.dumps({"task_index": i, "task": text}) for i, text in enumerate(texts)]
    (old / "meta/tasks.jsonl").write_text("\n".join(lines) + "\n")

    new = out / "lerobot-v3.0"
    shutil.rmtree(new, ignore_errors=True)
    (new / "data/chunk-000").mkdir(parents=True)
    (new / "meta/episodes/chunk-000").mkdir(parents=True)
    parts = [table(n, e, start, "v3.0") for n, (e, start) in enumerate(zip(data, starts))]
    # The first file holds two episodes.
    files = [pa.concat_tables(parts[:2]), parts[2]]
    for i, part in enumerate(files):
        pq.write_table(part, new / f"data/chunk-000/file-{i:03d}.parquet", compression="zstd")
    index = pa.table(
        {
            "episode_index": pa.array(range(len(data))),
            "data/chunk_index": pa.array([0, 0, 0]),
            "data/file_index": pa.array([0, 0, 1]),
            "dataset_from_index": pa.array(starts),
            "dataset_to_index": pa.array(starts + LENGTHS),
            "tasks": pa.array([[texts[task]] for task in does]),
            "length": pa.array(LENGTHS),
        }
    )
    pq.write_table(index, new / "meta/episodes/chunk-000/file-000.parquet")
    info = common | {
        "codebase_version": "v3.0",
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
    }
    (new / "meta/info.json").write_text(json.dumps(info, indent=1))
    import pandas as pd

    pd.DataFrame({"task_index": range(len(texts))}, index=texts).to_parquet(new / "meta/tasks.parquet")


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    data = episodes()
    for write in [
        expected, minari, d4rl, robomimic, imitation, arrays, tables, matlab, matlab73, plain_hdf5, lerobot,
    ]:
        write(out, data)


if __name__ == "__main__":
    main()
