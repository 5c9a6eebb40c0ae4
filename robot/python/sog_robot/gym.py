"""Any Gymnasium environment as a robot.

    env = gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False)
    robot = GymRobot(env, contract_of("ant-dir-6-sog-gail.safetensors"))
    serve(robot, listen("udp://127.0.0.1:5600"), lock_step=True)

Needs the package ``gymnasium`` in whoever makes the environment; this module does not import it.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .robot import Reading
from .session import Floats, RobotSpec
from .wire import Contract


class GymRobot:
    """A Gymnasium environment as a :class:`sog_robot.Robot`.

    It advances by one step for every command. A truncated episode goes on (the controller knows how
    long it wants to run); a terminated one is reported and goes on until a reset.
    """

    def __init__(
        self,
        env: Any,
        contract: Contract,
        *,
        observe: Callable[[Any, Any], Any] | None = None,
        actuate: Callable[[Floats], Any] | None = None,
        damping_action: Any = None,
        stop_action: Any = None,
        max_action_step: Any = None,
        seed: int | None = None,
    ) -> None:
        """Resets the environment and checks that it fits.

        ``observe(env, obs)`` makes the contract's observation from the environment and what it
        returned; without, what it returned is flattened. ``actuate(action)`` makes the
        environment's action; without, the action is clipped to the environment's box. ``seed``
        seeds the first reset.

        Raises ValueError if a width or the control period is another than the contract's.
        """
        self.env = env
        self._spec = RobotSpec(contract, damping_action, stop_action, max_action_step)
        self._observe = observe if observe is not None else lambda _env, obs: obs
        self._actuate = actuate if actuate is not None else self._clip
        self._check_period(contract)
        if actuate is None:
            self._check_actions(contract)
        self._seed = seed
        self._stopped = False
        self._reading: Reading | None = None
        self._reset()

    @property
    def spec(self) -> RobotSpec:
        """What the robot is."""
        return self._spec

    def read(self) -> Reading | None:
        """The observation of the last step or reset, once."""
        reading, self._reading = self._reading, None
        return reading

    def act(self, action: Floats) -> None:
        """Steps the environment with an action, ``[A]``."""
        self._step(self._spec.stop if self._stopped else action)

    def damp(self) -> None:
        """Steps the environment with the damping action."""
        self._step(self._spec.stop if self._stopped else self._spec.damping)

    def stop(self) -> None:
        """Steps the environment with the stop action, and so from now on until a reset."""
        self._stopped = True
        self._step(self._spec.stop)

    def reset(self) -> None:
        """Begins an episode."""
        self._stopped = False
        self._reset()

    def _reset(self) -> None:
        obs, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._reading = Reading(self._values(obs))

    def _step(self, action: Floats) -> None:
        obs, reward, terminated, _, _ = self.env.step(self._actuate(action))
        self._reading = Reading(
            self._values(obs), float(reward), bool(terminated), applied=np.array(action, np.float32)
        )

    def _values(self, obs: Any) -> Floats:
        values = np.asarray(self._observe(self.env, obs), np.float32).ravel()
        needed = self._spec.contract.obs_dim
        if values.shape != (needed,):
            terms = self._spec.contract.obs_terms
            raise ValueError(
                f"the environment's observation has {values.size} numbers, the contract {needed} "
                f"({terms}); configure the environment or give observe="
            )
        return values

    def _clip(self, action: Floats) -> Any:
        space = self.env.action_space
        return np.clip(action, space.low.ravel(), space.high.ravel()).reshape(space.shape)

    def _check_actions(self, contract: Contract) -> None:
        shape = getattr(self.env.action_space, "shape", None)
        if not shape or int(np.prod(shape)) != contract.action_dim:
            raise ValueError(
                f"the environment's actions have shape {shape}, the contract "
                f"{contract.action_dim} numbers ({contract.action_terms}); give actuate="
            )

    def _check_period(self, contract: Contract) -> None:
        dt_s = getattr(self.env.unwrapped, "dt", None)
        if isinstance(dt_s, (int, float)) and abs(dt_s - contract.dt_s) > 1e-6 * contract.dt_s:
            raise ValueError(
                f"a step of the environment takes {dt_s} s, the contract's {contract.dt_s} s; set "
                "frame_skip"
            )
