"""Gymnasium's Ant-v5 as a robot for the committed ant policies.

    python examples/ant.py ../../models/policies/ant-dir-6-sog-gail.safetensors
    sog-run models/policies/ant-dir-6-sog-gail.safetensors --robot udp://127.0.0.1:5600 --duration 50

The task observes qpos[2:] and qvel, 27 numbers. Ant-v5 gives exactly those when its contact forces
are left out; `observe=lambda env, obs: np.concatenate([env.unwrapped.data.qpos[2:],
env.unwrapped.data.qvel])` would do the same for any configuration.
"""

import argparse
import math

import gymnasium

from sog_robot import GymRobot, Key, contract_of, listen, serve

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("policy", help="policy file whose task, terms and period the robot has")
parser.add_argument("--listen", default="udp://127.0.0.1:5600")
parser.add_argument("--key", help="file with a secret shared with the controller")
parser.add_argument("--real-time", action="store_true", help="keep real time, not lock step")
parser.add_argument("--sessions", type=int)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

env = gymnasium.make(
    "Ant-v5",
    include_cfrc_ext_in_observation=False,
    # The task ends when the torso sinks below 0.2 m, not when it leaps.
    healthy_z_range=(0.2, math.inf),
)
robot = GymRobot(env, contract_of(arguments.policy), seed=arguments.seed)
with listen(arguments.listen) as line:
    counts = serve(
        robot,
        line,
        key=Key.read(arguments.key) if arguments.key else None,
        lock_step=not arguments.real_time,
        sessions=arguments.sessions,
    )
x, y, z = env.unwrapped.data.qpos[:3]
print(f"{counts.steps} steps in {counts.sessions} sessions; the ant is at ({x:.2f}, {y:.2f}, {z:.2f})")
