"""The robot's side of sog.

* :mod:`sog_robot.wire`: packets; :mod:`sog_robot.session`: the robot's side of a session,
  without input or output; :mod:`sog_robot.transport`: UDP and serial lines;
* :class:`Robot`, :func:`serve`: a robot of your own behind a line;
* :class:`GymRobot`: any Gymnasium environment as a robot;
* :class:`Demonstrations`, :class:`Policy`: the files;
* :class:`Controller`: a small controller, to try robots with.
"""

from .controller import Controller, Refused
from .demonstrations import DemonstrationError, Demonstrations, Episode
from .gym import GymRobot
from .policy import Policy, PolicyError, contract_of
from .robot import Reading, Robot, serve
from .session import Do, RobotSpec, Session
from .transport import Closed, Serial, Udp, connect, listen
from .wire import Command, Contract, Fate, Frame, Key, PacketError, open_packet, seal

__version__ = "0.1.0"

__all__ = [
    "Closed",
    "Command",
    "Contract",
    "Controller",
    "DemonstrationError",
    "Demonstrations",
    "Do",
    "Episode",
    "Fate",
    "Frame",
    "GymRobot",
    "Key",
    "PacketError",
    "Policy",
    "PolicyError",
    "Reading",
    "Refused",
    "Robot",
    "RobotSpec",
    "Serial",
    "Session",
    "Udp",
    "connect",
    "contract_of",
    "listen",
    "open_packet",
    "seal",
    "serve",
]
