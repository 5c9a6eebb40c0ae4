"""Packets against the vectors of the Rust implementation."""

import json
import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from sog_robot import Contract, Fate, Frame, Key, PacketError, open_packet, seal, wire
from sog_robot.transport import Framer

VECTORS = json.loads((ROOT / "robot" / "vectors.json").read_text())
KINDS = {
    wire.Hello: "hello",
    wire.Welcome: "welcome",
    wire.Refuse: "refuse",
    wire.Ready: "ready",
    wire.Observation: "observation",
    wire.Act: "command",
    wire.Bye: "bye",
    wire.Guided: "guided",
    wire.Again: "again",
}


def key_of(vector):
    secret = bytes.fromhex(vector["key"])
    return Key(secret) if secret else None


def fields(frame):
    """The fields of a frame as the vectors have them."""
    found = {name: getattr(frame, name) for name in ("version", "seq", "echo_seq")}
    found |= {name: str(getattr(frame, name)) for name in ("session", "sent_ns", "echo_hold_ns")}
    message = frame.message
    found["kind"] = KINDS[type(message)]
    parts = vars(message)
    if isinstance(message, wire.Guided):
        parts = vars(message.observation) | {k: v for k, v in parts.items() if k != "observation"}
    for name, value in parts.items():
        if isinstance(value, Contract):
            found |= {k: getattr(value, k) for k in ("task", "obs_terms", "action_terms", "dt_s")}
            if frame.version > 1:
                found["action_low"] = value.action_low.hex()
                found["action_high"] = value.action_high.hex()
        elif isinstance(value, bytes):
            found[name] = value.hex()
        elif isinstance(value, wire.Command):
            found[name] = value.name.lower()
        elif name in ("nonce", "period_ns", "step", "first"):
            found[name] = str(value)
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda v: f"{v['name']}-{len(v['key'])}")
def test_packets_open_to_their_fields_and_seal_to_the_same_bytes(vector):
    packet, key = bytes.fromhex(vector["packet"]), key_of(vector)
    frame = open_packet(packet, key)
    own = ("name", "key", "packet", "serial")
    assert fields(frame) == {k: v for k, v in vector.items() if k not in own}
    assert seal(frame, key) == packet
    assert Framer.frame(packet).hex() == vector["serial"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_bad_packets_are_refused_for_the_right_reason(vector):
    with pytest.raises(PacketError) as error:
        open_packet(bytes.fromhex(vector["packet"]), key_of(vector))
    assert error.value.fate.value == vector["refused"]


@pytest.mark.parametrize("vector", VECTORS["cobs"], ids=lambda v: str(len(v["data"]) // 2))
def test_cobs(vector):
    data, serial = bytes.fromhex(vector["data"]), bytes.fromhex(vector["serial"])
    assert Framer.frame(data) == serial
    assert wire.cobs_decode(serial[1:-1]) == data


def test_every_flipped_bit_is_noticed():
    for vector in VECTORS["packets"][:12]:
        packet = bytearray.fromhex(vector["packet"])
        for bit in range(0, len(packet) * 8, 3):
            packet[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PacketError):
                open_packet(packet, key_of(vector))
            packet[bit // 8] ^= 1 << bit % 8


def test_no_bytes_do_harm():
    rng = random.Random(0)
    good = [bytes.fromhex(v["packet"]) for v in VECTORS["packets"]]
    for _ in range(20_000):
        packet = bytearray(rng.choice(good)[: -4 if rng.random() < 0.9 else None])
        for _ in range(rng.randint(1, 3)):
            if packet:
                packet[rng.randrange(len(packet))] = rng.randrange(256)
        packet += zlib.crc32(packet).to_bytes(4, "little")
        try:
            frame = open_packet(packet)
        except PacketError:
            continue
        open_packet(seal(frame))


def test_a_serial_line_recovers_from_damage():
    rng = random.Random(1)
    packets = [bytes.fromhex(v["packet"]) for v in VECTORS["packets"]]
    framer, came = Framer(), []
    for packet in packets:
        noise = bytes(rng.randrange(256) for _ in range(5))
        stream = noise + Framer.frame(packet)
        at = 0
        while at < len(stream):
            n = rng.randint(1, 9)
            came += framer.feed(stream[at : at + n])
            at += n
    assert [p for p in came if p in packets] == packets


def test_numbers_that_do_not_fit_are_refused():
    frame = Frame(1, 1, 0, 0, 0, wire.Ready())
    for bad in (replace(frame, session=1 << 64), replace(frame, seq=1 << 32), replace(frame, version=3)):
        with pytest.raises(ValueError):
            seal(bad)
    observation = wire.Observation(0, None, False, True, bytes(65_500))
    with pytest.raises(ValueError, match="65507"):
        seal(replace(frame, message=observation))
    guided = wire.Guided(wire.Observation(0, None, False, True, b""), None, 0, False)
    with pytest.raises(ValueError, match="version 2"):
        seal(replace(frame, message=guided))
    assert open_packet(seal(replace(frame, message=guided, version=2))).message == guided


def test_keys_must_be_long_enough_and_private(tmp_path):
    with pytest.raises(ValueError, match="15 bytes"):
        Key(bytes(15))
    path = tmp_path / "key"
    path.write_bytes(bytes(16))
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        Key.read(path)
    path.chmod(0o600)
    assert repr(Key.read(path)) == "Key(secret)"


def test_contracts_say_in_what_they_differ():
    ours = Contract("cart", "x:1,v:1", "force:1", 0.01).with_bounds(-1, 1)
    assert (ours.obs_dim, ours.action_dim) == (2, 1)
    assert ours.difference(ours) is None
    assert ours.difference(replace(ours, dt_s=0.01 * (1 + 1e-12))) is None
    assert ours.difference(replace(ours, dt_s=float("nan")))[0] == "control period"
    assert ours.difference(replace(ours, obs_terms="v:1,x:1"))[0] == "observation terms"
    assert ours.difference(ours.with_bounds(-1, 2)) == ("upper action bounds", "1", "2")
    # Version 1 says nothing of bounds.
    assert ours.difference(replace(ours, action_low=b"", action_high=b"")) is None
    assert ours.difference(ours.with_bounds(-1, 1 + 1e-7)) is None
    for bad in ("", "x", "x:0", "x:-1", ":1", "x:1,,y:2", "x:99999"):
        with pytest.raises(ValueError, match="terms"):
            wire.width(bad)
    with pytest.raises(ValueError, match="bounds"):
        ours.with_bounds(1, np.inf)


def test_fates_have_the_names_of_the_reports():
    assert [f.value for f in Fate][:4] == ["lost", "late", "duplicated", "reordered"]
