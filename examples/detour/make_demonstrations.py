"""Demonstrations of an arm that passes a post on either side, unlabelled and mixed.

Somebody else's simulator and controller stand in here for a person who leads the arm: nothing of sog is used, only
NumPy, safetensors and MuJoCo's Python bindings.

    python make_demonstrations.py            # writes demonstrations.safetensors and held_out.safetensors
"""

import pathlib

import mujoco
import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
STEPS, SKIP = 150, 10
START, GOAL = np.array([0.7, -0.5]), np.array([0.7, 0.5])
VIA = {"inside": np.array([0.56, 0.0]), "outside": np.array([1.06, 0.0])}


def route(via):
    """A quadratic Bezier curve through `via`, in 200 points."""
    t = np.linspace(0, 1, 200)[:, None]
    control = 2 * via - (START + GOAL) / 2
    return (1 - t) ** 2 * START + 2 * t * (1 - t) * control + t**2 * GOAL


def torque(model, data, tip, curve):
    """Follows the curve: the hand is drawn towards a point a little ahead of the nearest one."""
    at = data.site_xpos[tip][:2]
    nearest = np.argmin(np.linalg.norm(curve - at, axis=1))
    ahead = curve[min(nearest + 20, len(curve) - 1)]
    wanted = 4.0 * (ahead - at)
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jacobian, None, tip)
    jacobian = jacobian[:2]
    return np.clip(jacobian.T @ (6.0 * (wanted - jacobian @ data.qvel)), -2, 2)


def episode(model, way, rng):
    """One demonstration: observations [T, 4], actions [T, 2]."""
    data, tip = mujoco.MjData(model), model.site("tip").id
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.qpos += rng.uniform(-0.05, 0.05, 2)
    mujoco.mj_forward(model, data)
    curve = route(VIA[way])
    observations, actions = [], []
    for _ in range(STEPS):
        observations.append(np.concatenate([data.qpos, data.qvel]))
        # A hand that is not quite steady; what is recorded is what was applied.
        action = np.clip(torque(model, data, tip, curve) + rng.normal(0, 0.02, 2), -2, 2)
        actions.append(action)
        data.ctrl[:] = action
        mujoco.mj_step(model, data, SKIP)
    mujoco.mj_forward(model, data)
    hit = np.linalg.norm(data.site_xpos[tip][:2] - GOAL)
    return np.array(observations), np.array(actions), hit


def main():
    model = mujoco.MjModel.from_xml_path(str(HERE / "arm.xml"))
    rng = np.random.default_rng(0)
    for name, count in [("demonstrations", 24), ("held_out", 8)]:
        ways = rng.permutation(["inside", "outside"] * (count // 2))
        episodes = [episode(model, way, rng) for way in ways]
        worst = max(hit for _, _, hit in episodes)
        print(f"{name}: {count} episodes, farthest from the goal at the end {worst:.3f} m")
        assert worst < 0.05
        save_file(
            {
                "observations": np.ascontiguousarray(np.stack([o for o, _, _ in episodes]), np.float32),
                "actions": np.ascontiguousarray(np.stack([a for _, a, _ in episodes]), np.float32),
                # For evaluation alone: no learner sees them.
                "modes": np.array([["inside", "outside"].index(w) for w in ways], np.uint32),
            },
            HERE / f"{name}.safetensors",
        )


if __name__ == "__main__":
    main()
