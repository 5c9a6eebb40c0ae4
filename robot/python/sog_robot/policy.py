"""Policy files, read and evaluated with NumPy.

    policy = Policy.load("ant-dir-6-sog-gail.safetensors")
    action = policy.act(observation, policy.one_hot(2))

Loading verifies the checksum and that the golden vectors come out to 1e-5. The arithmetic is in
double precision: slow, plain, and independent of the runtime's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import tensors
from .wire import Contract

#: Schema of the files.
SCHEMA = "sog.policy/1"

_VARIANCE_FLOOR = 1e-8
_GOLDEN_TOLERANCE = 1e-5

Doubles = NDArray[np.float64]


def _elu(x: Doubles) -> Doubles:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_ACTIVATIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "elu": _elu,
}


class PolicyError(ValueError):
    """A policy file that is refused."""


class Policy:
    """π(a | s, z): the mean action of an observation under a code."""

    def __init__(self, parameters: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
        """A policy of these tensors and this metadata; :class:`PolicyError` names what is wrong."""
        self._p = {name: values.astype(np.float64) for name, values in parameters.items()}
        self.metadata = metadata
        if self._meta("schema") != SCHEMA:
            raise PolicyError(f"schema is `{self._meta('schema')}`, this reader knows `{SCHEMA}`")
        self._activation: Callable[[Doubles], Doubles] = self._choice("activation", _ACTIVATIONS)
        self._mean = self._choice("arch", {"two-branch": self._two_branch, "mlp": self._stack})
        for name, values in self._p.items():
            if not np.isfinite(values).all():
                raise PolicyError(f"tensor `{name}` holds numbers that are not finite")
        #: Bounds of the action, ``[A]``.
        self.action_low, self.action_high = self._tensor("action.low"), self._tensor("action.high")
        #: Task, terms, control period and bounds.
        self.contract = Contract(
            self._meta("task"),
            self._meta("obs.terms"),
            self._meta("action.terms"),
            float(self._meta("dt")),
        ).with_bounds(self.action_low, self.action_high)
        #: ``none``, ``one-hot`` or ``gaussian``, and the width Z of the code.
        self.latent_kind, _, digits = self._meta("latent.kind").partition(":")
        self.latent_dim = int(digits or 0)
        self._check_golden()

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Reads and verifies a file."""
        return cls(*tensors.read(path))

    def one_hot(self, k: int) -> Doubles:
        """Code k of a policy with one-hot codes, ``[Z]``."""
        if self.latent_kind != "one-hot" or not 0 <= k < self.latent_dim:
            raise PolicyError(f"code {k} of a policy with codes `{self._meta('latent.kind')}`")
        return np.asarray(np.eye(self.latent_dim)[k])

    def mean(self, obs: ArrayLike, code: ArrayLike = ()) -> Doubles:
        """Mean actions ``[…, A]`` of observations ``[…, S]`` under codes ``[…, Z]``, not limited."""
        obs, code = np.asarray(obs, np.float64), np.asarray(code, np.float64)
        if obs.shape[-1] != self.contract.obs_dim or code.shape[-1] != self.latent_dim:
            raise PolicyError(
                f"observations of {obs.shape[-1]} and codes of {code.shape[-1]} numbers, need "
                f"{self.contract.obs_dim} and {self.latent_dim}"
            )
        clip = float(self._meta("obs.clip"))
        std = np.sqrt(self._tensor("obs.var") + _VARIANCE_FLOOR)
        x = np.clip((obs - self._tensor("obs.mean")) / std, -clip, clip)
        mean: Doubles = self._mean(x, code)
        scale = self._meta("mean.scale")
        return mean if scale == "none" else float(scale) * np.tanh(mean)

    def act(self, obs: ArrayLike, code: ArrayLike = ()) -> NDArray[np.float32]:
        """The action that is taken: the mean within the action's bounds, ``[…, A]``."""
        return np.clip(self.mean(obs, code), self.action_low, self.action_high).astype(np.float32)

    def _two_branch(self, x: Doubles, code: Doubles) -> Doubles:
        """Vahabpour et al. (2022), Fig. 5a: the code joins before the last activation."""
        total = self._hidden("actor.state", x)
        if self.latent_dim:
            total = total + self._linear("actor.latent", code)
        return self._linear("actor.mean", self._activation(total))

    def _stack(self, x: Doubles, code: Doubles) -> Doubles:
        """A plain stack over observation and code side by side."""
        code = np.broadcast_to(code, (*x.shape[:-1], self.latent_dim))
        total = self._hidden("actor.layer", np.concatenate([x, code], axis=-1))
        return self._linear("actor.mean", self._activation(total))

    def _hidden(self, name: str, x: Doubles) -> Doubles:
        """The hidden layers one after the other, without the last one's activation."""
        x = self._linear(f"{name}.0", x)
        n = 1
        while f"{name}.{n}.weight" in self._p:
            x = self._linear(f"{name}.{n}", self._activation(x))
            n += 1
        return x

    def _linear(self, name: str, x: Doubles) -> Doubles:
        weight, bias = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != x.shape[-1]:
            raise PolicyError(
                f"layer `{name}` has shapes {weight.shape} and {bias.shape} for an input of "
                f"{x.shape[-1]}"
            )
        return x @ weight.T + bias

    def _tensor(self, name: str) -> Doubles:
        if name not in self._p:
            raise PolicyError(f"tensor `{name}` is missing")
        return self._p[name]

    def _meta(self, key: str) -> str:
        if key not in self.metadata:
            raise PolicyError(f"metadata `{key}` is missing")
        return self.metadata[key]

    def _choice(self, key: str, known: dict[str, Any]) -> Any:
        found = self._meta(key)
        if found not in known:
            raise PolicyError(f"metadata `{key}`: found `{found}`, this reader knows {list(known)}")
        return known[found]

    def _check_golden(self) -> None:
        golden = self._tensor("golden.action")
        code = self._tensor("golden.latent") if self.latent_dim else np.zeros((len(golden), 0))
        off = np.abs(self.mean(self._tensor("golden.obs"), code) - golden)
        # Written so that NaN fails.
        wrong = np.argwhere(~(off <= _GOLDEN_TOLERANCE * np.maximum(1.0, np.abs(golden))))
        if wrong.size:
            row, component = wrong[0]
            raise PolicyError(
                f"golden vector {row}: action {component} is off by {off[row, component]:.2e}; the "
                "weights or the golden vectors are damaged"
            )


def contract_of(path: str | Path) -> Contract:
    """The contract of a policy or demonstration file, for a robot that fits it."""
    found, meta = tensors.read(path)
    try:
        contract = Contract(
            meta["task"], meta["obs.terms"], meta["action.terms"], float(meta["dt"])
        )
    except KeyError as error:
        raise PolicyError(f"{path}: metadata {error} is missing") from None
    if "action.low" in found and "action.high" in found:
        return contract.with_bounds(found["action.low"], found["action.high"])
    return contract
