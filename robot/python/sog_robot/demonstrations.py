"""Demonstration files (docs/demonstrations.md), read and written.

    demos = Demonstrations(contract, [Episode(observations, actions), …])
    demos.save("mine.safetensors")
    for episode in Demonstrations.load("mine.safetensors").episodes: …
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import tensors
from .wire import Contract

#: Schema of the files.
SCHEMA = "sog.demonstrations/1"

_CONTRACT_KEYS = ("schema", "task", "dt", "obs.terms", "action.terms")


class DemonstrationError(ValueError):
    """Demonstrations that do not hold together."""


@dataclass
class Episode:
    """One demonstration: T steps."""

    #: ``[T, S]``.
    observations: NDArray[np.float32]
    #: What was done at each observation, ``[T, A]``.
    actions: NDArray[np.float32]

    def __post_init__(self) -> None:
        self.observations = np.asarray(self.observations, np.float32)
        self.actions = np.asarray(self.actions, np.float32)


@dataclass
class Demonstrations:
    """The content of a file."""

    #: Task, terms and control period.
    contract: Contract
    episodes: list[Episode]
    #: Label of each episode ``[N]``, for evaluation alone.
    modes: NDArray[np.uint32] | None = None
    #: Goal of each episode ``[N, dims]``, in place of modes.
    goals: NDArray[np.float32] | None = None
    #: MuJoCo's state at each start, ``[N, nq]`` and ``[N, nv]``.
    starts: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    #: Further metadata: where the demonstrations come from.
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Reads and checks a file.

        Raises :class:`sog_robot.tensors.TensorError` for a damaged file and
        :class:`DemonstrationError` for one whose parts do not fit.
        """
        found, meta = tensors.read(path)
        if meta.get("schema", SCHEMA) != SCHEMA:
            raise DemonstrationError(f"schema is `{meta['schema']}`, need `{SCHEMA}`")
        for name in ("observations", "actions"):
            if name not in found or found[name].ndim != 3:
                raise DemonstrationError(f"tensor `{name}` of three dimensions is missing")
        observations, actions = found["observations"], found["actions"]
        n, t, s = observations.shape
        if actions.shape[:2] != (n, t):
            raise DemonstrationError(
                f"actions have shape {actions.shape}, observations {observations.shape}"
            )
        lengths = found.get("lengths", np.full(n, t, np.uint32))
        if lengths.shape != (n,) or (n > 0 and not (1 <= lengths.min() <= lengths.max() <= t)):
            raise DemonstrationError(f"lengths must be {n} numbers from 1 to {t}")
        contract = Contract(
            task=meta.get("task", ""),
            obs_terms=meta.get("obs.terms", f"observation:{s}"),
            action_terms=meta.get("action.terms", f"action:{actions.shape[2]}"),
            dt_s=float(meta.get("dt", "nan")),
        )
        starts = None
        if "start.qpos" in found and "start.qvel" in found:
            starts = (found["start.qpos"].astype(np.float64), found["start.qvel"].astype(np.float64))
        demos = cls(
            contract,
            [Episode(o[:k], a[:k]) for o, a, k in zip(observations, actions, lengths)],
            modes=found.get("modes"),
            goals=found.get("goals"),
            starts=starts,
            metadata={
                k: v
                for k, v in meta.items()
                if k not in _CONTRACT_KEYS and k != tensors.CHECKSUM_KEY
            },
        )
        demos.check()
        return demos

    def save(self, path: str | Path) -> None:
        """Checks and writes the file; it is there whole or not at all."""
        data = self.to_bytes()
        path = Path(path)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def to_bytes(self) -> bytes:
        """Bytes of the file: the same demonstrations always give the same."""
        self.check()
        lengths = np.array([len(e.actions) for e in self.episodes], np.uint32)
        found: dict[str, NDArray[Any]] = {
            "lengths": lengths,
            "observations": self._padded([e.observations for e in self.episodes], lengths),
            "actions": self._padded([e.actions for e in self.episodes], lengths),
        }
        if self.modes is not None:
            found["modes"] = np.asarray(self.modes, np.uint32)
        elif self.goals is not None:
            found["goals"] = np.asarray(self.goals, np.float32)
        if self.starts is not None:
            found["start.qpos"] = np.asarray(self.starts[0], np.float64)
            found["start.qvel"] = np.asarray(self.starts[1], np.float64)
        c = self.contract
        own = ("expert", ""), ("generator", "sog-robot"), ("mean_return", "[]"), ("seed", "0")
        meta = dict(own) | self.metadata
        meta |= {
            "schema": SCHEMA,
            "task": c.task,
            "dt": number(c.dt_s),
            "obs.terms": c.obs_terms,
            "action.terms": c.action_terms,
        }
        return tensors.serialize(found, meta)

    def check(self) -> None:
        """Raises :class:`DemonstrationError` naming the first thing that does not hold."""
        s, a = self.contract.obs_dim, self.contract.action_dim
        if not self.episodes:
            raise DemonstrationError("there is no episode")
        for n, episode in enumerate(self.episodes):
            t = len(episode.actions)
            if t == 0:
                raise DemonstrationError(f"episode {n} is empty")
            for name, values, needed in (
                ("observations", episode.observations, (t, s)),
                ("actions", episode.actions, (t, a)),
            ):
                if values.shape != needed:
                    hint = ""
                    if values.ndim == 2 and values.shape == (t + 1, s):
                        hint = "; drop the observation after the last action"
                    raise DemonstrationError(
                        f"episode {n}: {name} have shape {values.shape}, need {needed}{hint}"
                    )
                bad = np.argwhere(~np.isfinite(values))
                if bad.size:
                    step, component = bad[0]
                    raise DemonstrationError(
                        f"episode {n}: {name} hold {values[step, component]} at step {step}, "
                        f"component {component}"
                    )
        for what, labels in (("modes", self.modes), ("goals", self.goals)):
            if labels is not None and len(labels) != len(self.episodes):
                raise DemonstrationError(
                    f"{len(labels)} {what} for {len(self.episodes)} episodes"
                )
        if self.starts is not None and any(len(x) != len(self.episodes) for x in self.starts):
            raise DemonstrationError(f"starts are not {len(self.episodes)}")

    @staticmethod
    def _padded(rows: list[NDArray[np.float32]], lengths: NDArray[np.uint32]) -> NDArray[Any]:
        out = np.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), np.float32)
        for n, values in enumerate(rows):
            out[n, : len(values)] = values
        return out


def number(value: ArrayLike) -> str:
    """A number with the fewest digits that give it back, and no exponent."""
    return np.format_float_positional(np.float64(value), trim="-")  # type: ignore[arg-type]
