"""The rules of the session, one by one; and the C header beside this one on the same events."""

import ctypes
import random
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT, Point

from sog_robot import Command, Do, Fate, Frame, Session, open_packet, seal, wire

MS = 1_000_000
SECRET = b"a secret of many bytes"


class Peer:
    """A controller's packets, made by hand."""

    def __init__(self, session, version=1, key=None, now_ns=0):
        self.s, self.version, self.key, self.now = session, version, key, now_ns
        self.number, self.seq = 0, 0

    def frame(self, message, **changes):
        values = dict(session=self.number, seq=self.seq, sent_ns=self.now, echo_seq=0, echo_hold_ns=0)
        return seal(Frame(**(values | changes), message=message, version=self.version), self.key)

    def give(self, message, **changes):
        self.seq += 1
        return self.s.receive(self.frame(message, **changes), self.now)

    def hello(self, nonce=7, period_ns=10 * MS, contract=None):
        contract = contract or self.s.spec.contract
        todo = self.s.receive(
            self.frame(wire.Hello(nonce, contract, period_ns), session=0, seq=1), self.now
        )
        assert todo is Do.NOTHING
        return open_packet(self.s.out[0], self.key)

    def begin(self):
        self.number = self.hello().session
        assert self.give(wire.Ready()) is Do.START
        return self.observe()

    def observe(self):
        return open_packet(self.s.observe(self.now, np.arange(10.0)), self.key)

    def act(self, action=(0.5, -0.5), step=None, kind=Command.ACT, **changes):
        step = self.s.step if step is None else step
        data = wire.to_bytes(action) if kind is Command.ACT else b""
        return self.give(wire.Act(step, kind, data), **changes)

    def tick(self, after_ns=10 * MS):
        self.now += after_ns
        return self.s.tick(self.now)


def peer(version=1, **options):
    return Peer(Session(Point().spec, **options), version, options.get("key"))


def test_a_handshake():
    p = peer(lock_step=True)
    welcome = p.hello()
    assert (welcome.seq, welcome.message.nonce, welcome.message.lock_step) == (1, 7, True)
    assert welcome.session != 0 and welcome.message.contract.task == "circles"
    assert wire.to_numbers(welcome.message.max_action_step).tolist() == [np.inf, np.inf]
    assert p.hello().session == welcome.session, "who asks again gets the same session"
    assert p.hello(nonce=8).session != welcome.session
    p.number = p.hello(nonce=8).session
    assert p.give(wire.Ready()) is Do.START
    first = p.observe()
    # The welcome, however often it was sent, is packet 1.
    assert (first.seq, first.message.step, first.message.follows) == (2, 0, True)


def test_what_does_not_fit_is_refused_by_name():
    p = peer()
    ours = p.s.spec.contract
    for changes, word in (
        ({"task": "ant"}, "task"),
        ({"obs_terms": "position:10"}, "observation terms"),
        ({"action_terms": "force:2"}, "action terms"),
        ({"dt_s": 0.02}, "control period"),
    ):
        answer = p.hello(contract=wire.replace(ours, **changes))
        assert word in answer.message.reason and answer.session == 0
    assert "0.5 ms" in p.hello(period_ns=100).message.reason
    assert not p.s.on
    p.version = 2
    assert "upper action bounds" in p.hello(contract=ours.with_bounds(-1.5, 2)).message.reason


def test_version_2_is_answered_in_version_2():
    p = peer(version=2)
    first = p.begin()
    assert (first.version, type(first.message)) == (2, wire.Guided)
    p.version = 1
    assert p.act() is Do.NOTHING
    assert p.s.counts.dropped[Fate.VERSION] == 1
    old = peer(version=2, versions=(1,))
    old.s.receive(old.frame(wire.Hello(1, old.s.spec.contract, MS), session=0, seq=1), 0)
    assert old.s.out == [] and old.s.counts.dropped[Fate.VERSION] == 1


def test_in_lock_step_a_command_is_followed_once():
    p = peer(lock_step=True)
    p.begin()
    assert p.act([0.25, 1.0]) is Do.ACT
    assert p.s.action.tolist() == [0.25, 1.0]
    answer = p.observe()
    assert answer.message.step == 1
    # The answer was lost: it asks again, and gets it again under another number.
    assert p.act([0.25, 1.0], step=0) is Do.NOTHING
    again = open_packet(p.s.out[0])
    assert again.message == answer.message and again.seq == answer.seq + 1
    assert p.give(wire.Ready()) is Do.NOTHING and len(p.s.out) == 1
    assert p.s.tick(p.now + 9_000 * MS) is Do.NOTHING
    assert p.s.tick(p.now + 10_001 * MS) is Do.END
    assert isinstance(open_packet(p.s.out[0]).message, wire.Bye) and not p.s.on


def test_packets_out_of_order_are_dropped_by_kind():
    p = peer(lock_step=True)
    p.begin()
    drops = p.s.counts.dropped
    p.act(seq=5)
    assert drops[Fate.LOST] == 3
    for seq, fate in ((5, Fate.DUPLICATED), (4, Fate.REORDERED), (4, Fate.DUPLICATED), (0, Fate.FOREIGN)):
        before = drops[fate]
        assert p.act(seq=seq) is Do.NOTHING
        assert drops[fate] == before + 1, (seq, fate)
    assert drops[Fate.LOST] == 2, "one that was lost came after all"
    p.act(seq=100, session=99)
    assert drops[Fate.FOREIGN] == 2


def test_bad_actions_are_not_followed():
    p = peer(lock_step=True)
    p.begin()
    for action in ([np.nan, 0], [1], [1, 2, 3], [np.inf, 0]):
        assert p.act(action) is Do.NOTHING
        assert p.s.action.tolist() == [0, 0]
    assert p.s.counts.dropped[Fate.MISFIT] == 4


def test_the_watchdog_damps_until_a_reset():
    p = peer()
    p.begin()
    assert p.tick() is Do.DAMP
    p.act()
    assert [p.tick() for _ in range(4)] == [Do.ACT, Do.ACT, Do.ACT, Do.DAMP]
    assert not p.s.follows and p.s.counts.watchdog == 1
    p.act()
    assert p.tick() is Do.DAMP and not p.observe().message.follows
    assert p.act(kind=Command.RESET) is Do.RESET
    assert p.tick() is Do.NOTHING, "a reset is obeyed once"
    p.act()
    assert p.tick() is Do.ACT and p.observe().message.follows


def test_an_idle_controller_is_no_absent_one():
    p = peer()
    p.begin()
    for _ in range(500):
        p.give(wire.Ready())
        assert p.tick() is Do.DAMP
    silent = [p.tick() for _ in range(103)]
    assert silent[-1] is Do.END and Do.END not in silent[:-1]


def test_a_stop_latches():
    p = peer()
    p.begin()
    p.act()
    assert p.act(kind=Command.STOP) is Do.STOP, "at once, not with the next period"
    p.act()
    assert p.tick() is Do.STOP
    p.act(kind=Command.DAMP)
    assert p.tick() is Do.STOP
    assert p.act(kind=Command.RESET) is Do.RESET
    p.act()
    assert p.tick() is Do.ACT
    p.act(kind=Command.STOP)
    assert p.give(wire.Bye()) is Do.END and p.s.stopped, "the end clears nothing"
    p.seq = 0
    p.begin()
    assert not p.s.stopped and p.s.follows


def test_late_commands_are_not_followed():
    p = peer()
    p.begin()
    p.act(sent_ns=p.now)
    assert p.tick() is Do.ACT
    p.now += 50 * MS
    p.act([9, 9], sent_ns=p.now - 25 * MS)
    assert p.s.counts.dropped[Fate.LATE] == 1
    assert p.s.action.tolist() == [0.5, -0.5]
    p.act([1, 1], sent_ns=p.now - 15 * MS)
    assert p.s.action.tolist() == [1, 1]
    assert p.act(kind=Command.STOP, sent_ns=p.now - 45 * MS) is Do.STOP, "a stop is never late"


def test_a_farewell_ends_the_session():
    p = peer(key=wire.Key(SECRET))
    p.begin()
    assert p.give(wire.Bye()) is Do.END and not p.s.on
    p.seq = 0
    p.begin()
    assert p.s.counts.sessions == 2


# -- against the C header ------------------------------------------------------------------------

WRAPPER = r"""
#define SOG_ROBOT_IMPLEMENTATION
#include "sog_robot.h"
static const float low[2] = {-1.5f, -1.5f}, high[2] = {1.5f, 1.5f};
static const sog_spec spec = {"circles", "position_history:10", "displacement:2", 0.01, 10, 2,
                              low, high, 0, 0, 0};
static sog_session s; static sog_key key; static uint8_t tx[2048]; static float action[2];
static const float values[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
static uint64_t dice(void) { return 0x1122334455667788u; }
void begin(int lock_step, const uint8_t *secret, size_t len) {
    sog_options o = {0, 0, 3, 2, dice};
    o.lock_step = lock_step != 0;
    if (len) { sog_key_init(&key, secret, len); o.key = &key; }
    sog_session_init(&s, &spec, &o, action, tx, sizeof tx);
}
int receive(const uint8_t *p, size_t n, uint64_t now) { return sog_session_receive(&s, p, n, now); }
int tick(uint64_t now) { return sog_session_tick(&s, now); }
void observe(uint64_t now) { sog_session_observe(&s, values, 0, now); }
size_t sent(uint8_t *out) { memcpy(out, tx, s.tx_len); return s.tx_len; }
int wants(int todo) { return sog_session_wants_observation(&s, (sog_do)todo); }
void state(uint32_t *out, float *a) {
    unsigned i;
    for (i = 0; i < SOG_FATES; i++) out[i] = s.dropped[i];
    out[10] = s.received; out[11] = s.sent; out[12] = s.follows; out[13] = (uint32_t)s.step;
    out[14] = s.sessions; out[15] = s.watchdog; out[16] = s.stopped;
    a[0] = action[0]; a[1] = action[1];
}
"""


@pytest.fixture(scope="module")
def c_library(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("c")
    (folder / "wrapper.c").write_text(WRAPPER)
    command = [compiler, "-std=c99", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'robot' / 'c'}"]
    subprocess.run([*command, "-o", folder / "it.so", folder / "wrapper.c"], check=True)
    return ctypes.CDLL(str(folder / "it.so"))


DOS = [Do.NOTHING, Do.START, Do.ACT, Do.DAMP, Do.STOP, Do.RESET, Do.END]
FATES = [None, Fate.LOST, Fate.LATE, Fate.DUPLICATED, Fate.REORDERED, Fate.CORRUPT, Fate.FOREIGN]
FATES += [Fate.UNAUTHENTICATED, Fate.VERSION, Fate.MISFIT]


@pytest.mark.parametrize("seed", range(12))
def test_the_c_header_does_the_same(c_library, seed, monkeypatch):
    """Random packets, good, damaged, late, lost, repeated, and ticks: the same answers."""
    c, rng = c_library, random.Random(seed)
    monkeypatch.setattr("secrets.randbits", lambda bits: 0x1122334455667788)
    lock_step, secret = bool(seed & 1), SECRET if seed & 2 else b""
    version = 1 + (seed & 4) // 4
    key = wire.Key(secret) if secret else None
    now = 1_000 * MS
    p = Peer(Session(Point().spec, lock_step=lock_step, key=key), version, key, now)
    c.begin(lock_step, secret, len(secret))
    buffer = ctypes.create_string_buffer(4096)
    numbers, action = (ctypes.c_uint32 * 17)(), (ctypes.c_float * 2)()

    def c_packet():
        size = c.sent(buffer)
        return buffer.raw[:size]

    def compare(todo, c_todo, packets):
        assert DOS[c_todo] is todo
        assert c_packet() == (packets[0] if packets else b"")
        c.state(numbers, action)
        drops = p.s.counts.dropped
        assert list(numbers[1:10]) == [drops[f] for f in FATES[1:]]
        assert list(numbers[10:]) == [
            p.s.counts.received, p.s.counts.sent, p.s.follows, p.s.step, p.s.counts.sessions,
            p.s.counts.watchdog, p.s.stopped,
        ]
        assert np.array_equal(np.array(action), p.s.action)

    def observe():
        packet = p.s.observe(now, np.arange(10.0))
        c.observe(ctypes.c_uint64(now))
        assert c_packet() == packet

    starts = dones = 0
    for _ in range(3000):
        now += rng.choice([1, 5, 10, 10, 10, 60]) * MS
        p.now = now
        if rng.random() < 0.002:
            now += 12_000 * MS
        if p.s.on and rng.random() < 0.4:
            todo, c_todo = p.s.tick(now), c.tick(ctypes.c_uint64(now))
            compare(todo, c_todo, p.s.out)
            dones += todo is not Do.NOTHING
            if p.s.on and not lock_step:
                observe()
            continue
        kind = Command(rng.choice([0, 0, 0, 0, 0, 0, 1, 2, 3, 3]))
        size = 2 if rng.random() < 0.95 else rng.randint(0, 3)
        data = wire.to_bytes([rng.uniform(-2, 2) for _ in range(size)]) if kind is Command.ACT else b""
        step = p.s.step if rng.random() < 0.8 else max(0, p.s.step - 1)
        choices = [wire.Act(step, kind, data)] * 30 + [wire.Ready()] * 4
        choices += [wire.Bye()] * (rng.random() < 0.1)
        choices += [wire.Hello(rng.randint(1, 2), p.s.spec.contract, 10 * MS)]
        if not p.s.on:
            choices = [wire.Hello(1, p.s.spec.contract, 10 * MS), wire.Ready(), wire.Ready()]
            if version == 2:
                asking = wire.Contract("", "", "", 0.0)
                choices += [wire.Hello(1, asking, rng.choice([0, 10 * MS]))]
            p.seq = 0 if rng.random() < 0.5 else p.seq
        message = rng.choice(choices)
        p.number = 0x1122334455667789 if not isinstance(message, wire.Hello) else 0
        p.seq += rng.choice([1, 1, 1, 1, 1, 1, 0, 2, 70, -1])
        p.seq = max(0, p.seq)
        sent = now - rng.choice([0, 0, 0, 1, 15, 25]) * MS
        packet = bytearray(p.frame(message, sent_ns=sent))
        if rng.random() < 0.05:
            packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.03:
            packet = bytearray(p.frame(message, session=rng.choice([0, 5])))
        packet = bytes(packet)
        todo = p.s.receive(packet, now)
        c_todo = c.receive(packet, len(packet), ctypes.c_uint64(now))
        compare(todo, c_todo, p.s.out)
        starts += todo is Do.START
        dones += todo is not Do.NOTHING
        wants = bool(c.wants(c_todo))
        assert wants == (todo is Do.START or (p.s.on and lock_step and todo is not Do.NOTHING))
        if wants:
            observe()
    assert starts and dones > 300


def test_the_c_header_bounds_the_period_of_who_asks_too(c_library):
    p, buffer = peer(version=2), ctypes.create_string_buffer(4096)
    asking = wire.Contract("", "", "", 0.0)
    for period_ns, kind in ((0, wire.Welcome), (1, wire.Refuse), (2000 * MS, wire.Refuse)):
        c_library.begin(0, b"", 0)
        packet = p.frame(wire.Hello(7, asking, period_ns), session=0, seq=1)
        c_library.receive(packet, len(packet), ctypes.c_uint64(0))
        size = c_library.sent(buffer)
        assert isinstance(open_packet(buffer.raw[:size]).message, kind)


def test_a_controller_can_ask_what_the_robot_is_and_for_what_was_lost():
    p = peer(version=2)
    asked = p.hello(contract=wire.Contract("", "", "", 0.0), period_ns=0)
    assert isinstance(asked.message, wire.Welcome)
    assert asked.message.contract == p.s.spec.contract
    for period_ns in (1, 499_999, 1_000_000_001):
        refused = p.hello(contract=wire.Contract("", "", "", 0.0), period_ns=period_ns)
        assert "0.5 ms" in refused.message.reason
    p.number = asked.session
    assert p.give(wire.Ready()) is Do.START
    assert p.s.period_ns == round(p.s.spec.contract.dt_s * 1e9)
    shown = [p.observe().message for _ in range(1100)]
    p.give(wire.Again(shown[100].observation.step, 3))
    assert [open_packet(packet).message for packet in p.s.out] == shown[100:103]
    p.give(wire.Again(shown[10].observation.step, 3))
    assert p.s.out == [], "so much is not kept"
    p.give(wire.Again(0, 2**32 - 1))
    assert len(p.s.out) <= 8
