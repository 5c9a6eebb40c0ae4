"""Demonstration and policy files."""

import subprocess

import numpy as np
import pytest
from conftest import POLICIES

from sog_robot import Contract, DemonstrationError, Demonstrations, Episode, Policy, PolicyError
from sog_robot import contract_of, tensors
from sog_robot.demonstrations import number

CONTRACT = Contract("cart", "position:1,velocity:1", "force:1", 0.01)


def demonstrations():
    rng = np.random.default_rng(0)
    episodes = [Episode(rng.normal(size=(t, 2)), rng.normal(size=(t, 1))) for t in (5, 3, 8)]
    return Demonstrations(CONTRACT, episodes, modes=np.array([0, 1, 0]), metadata={"expert": "µ"})


def test_what_is_written_is_read(tmp_path):
    demos, path = demonstrations(), tmp_path / "demos.safetensors"
    demos.save(path)
    again = Demonstrations.load(path)
    assert again.contract == CONTRACT and again.metadata["expert"] == "µ"
    assert again.modes.tolist() == [0, 1, 0]
    for one, two in zip(demos.episodes, again.episodes, strict=True):
        assert np.array_equal(one.observations, two.observations)
        assert np.array_equal(one.actions, two.actions)
    assert again.to_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [path], "no draft is left"


def test_other_readers_read_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "demos.safetensors"
    demonstrations().save(path)
    found = safetensors.load_file(path)
    assert found["lengths"].tolist() == [5, 3, 8] and found["observations"].shape == (3, 8, 2)


def test_a_file_without_lengths_and_metadata_is_read(tmp_path):
    path = tmp_path / "plain.safetensors"
    parts = {"observations": np.ones((2, 4, 3), np.float32), "actions": np.zeros((2, 4, 1), np.float32)}
    path.write_bytes(tensors.serialize(parts, {}))
    demos = Demonstrations.load(path)
    assert [len(e.actions) for e in demos.episodes] == [4, 4]
    assert demos.contract.obs_dim == 3


def test_what_does_not_hold_is_named():
    def refused(change):
        demos = demonstrations()
        change(demos)
        with pytest.raises(DemonstrationError) as error:
            demos.to_bytes()
        return str(error.value)

    def one_more(demos):
        demos.episodes[1].observations = np.zeros((4, 2), np.float32)

    def infinite(demos):
        demos.episodes[2].actions[3, 0] = np.inf

    assert "drop the observation after the last action" in refused(one_more)
    assert "episode 2: actions hold inf at step 3" in refused(infinite)
    assert "no episode" in refused(lambda d: d.episodes.clear())
    assert "2 modes" in refused(lambda d: setattr(d, "modes", d.modes[:2]))
    assert "episode 0" in refused(lambda d: setattr(d.episodes[0], "actions", np.zeros((5, 2))))


def test_every_changed_byte_is_noticed(tmp_path):
    good = demonstrations().to_bytes()
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(good), 400):
        bad = bytearray(good)
        bad[at] ^= 1 << rng.integers(8)
        try:
            _, meta = tensors.parse(bytes(bad))
        except tensors.TensorError:
            continue
        # White space in the header, or the checksum's own name, is all that can go unseen here.
        assert tensors.CHECKSUM_KEY not in meta or good[at : at + 1] == b" "
    for size in range(0, len(good), 37):
        with pytest.raises(tensors.TensorError):
            tensors.parse(good[:size])


def test_numbers_are_written_as_rust_writes_them():
    assert [number(x) for x in (0.05, 1.0, 1e-7, 0.1 + 0.2)] == [
        "0.05",
        "1",
        "0.0000001",
        "0.30000000000000004",
    ]


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.safetensors")), ids=lambda p: p.stem)
def test_committed_policies_load_and_come_back_to_the_same_bytes(path):
    policy = Policy.load(path)
    code = policy.one_hot(0) if policy.latent_kind == "one-hot" else np.zeros(policy.latent_dim)
    action = policy.act(np.zeros(policy.contract.obs_dim), code)
    assert action.shape == (policy.contract.action_dim,)
    assert (action >= policy.action_low).all() and (action <= policy.action_high).all()
    assert contract_of(path) == policy.contract
    assert tensors.serialize(*tensors.read(path)) == path.read_bytes()


def test_many_observations_at_once():
    policy = Policy.load(POLICIES / "circles-sog-bc.safetensors")
    obs = np.random.default_rng(0).normal(size=(5, 10))
    codes = np.eye(3)[[0, 1, 2, 0, 1]]
    rows = [policy.act(o, z) for o, z in zip(obs, codes)]
    assert np.allclose(policy.act(obs, codes), rows)


def test_damaged_policies_are_refused():
    good, meta = tensors.read(POLICIES / "circles-sog-bc.safetensors")

    def refused(tensors_changed=None, **changes):
        with pytest.raises(PolicyError) as error:
            Policy(good | (tensors_changed or {}), meta | changes)
        return str(error.value)

    weight = good["actor.mean.weight"].copy()
    weight[0, 0] += 0.01
    assert "golden vector" in refused({"actor.mean.weight": weight})
    weight[0, 0] = np.nan
    assert "not finite" in refused({"actor.mean.weight": weight})
    assert "schema" in refused(schema="sog.policy/9")
    assert "`arch`" in refused(arch="transformer")
    assert "layer `actor.mean`" in refused({"actor.mean.weight": np.zeros((2, 5))})
    with pytest.raises(PolicyError, match="observations of 3"):
        Policy(good, meta).mean(np.zeros(3), np.zeros(3))
    with pytest.raises(PolicyError, match="code 9"):
        Policy(good, meta).one_hot(9)


def policy_file(arch, activation, widths, latent, seed=0):
    """A policy of random weights whose golden vectors say what NumPy gives."""
    rng = np.random.default_rng(seed)
    kind, _, digits = latent.partition(":")
    (s, z, a), p = (5, int(digits or 0), 2), {}

    def layer(name, inputs, outputs):
        p[f"{name}.weight"] = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        p[f"{name}.bias"] = rng.normal(size=outputs)

    inputs = s + z if arch == "mlp" else s
    for n, width in enumerate(widths):
        layer(f"actor.{'layer' if arch == 'mlp' else 'state'}.{n}", inputs, width)
        inputs = width
    if arch == "two-branch" and z:
        layer("actor.latent", z, inputs)
    layer("actor.mean", inputs, a)
    code = np.eye(z)[np.arange(6) % z] if kind == "one-hot" else rng.normal(size=(6, z))
    p |= {"obs.mean": rng.normal(size=s), "obs.var": rng.uniform(0.1, 2, s), "log_std": np.zeros(a)}
    p |= {"action.low": -np.ones(a), "action.high": np.ones(a)}
    p |= {"golden.obs": 3 * rng.normal(size=(6, s)), "golden.action": np.zeros((6, a))}
    p |= {"golden.latent": code} if z else {}
    p = {name: values.astype(np.float32) for name, values in p.items()}
    meta = {"schema": "sog.policy/1", "task": "cart", "obs.terms": "x:5", "action.terms": "f:2"}
    meta |= {"dt": "0.01", "latent.kind": latent, "arch": arch, "activation": activation}
    meta |= {"obs.clip": "2", "mean.scale": "0.7", "producer": "test", "algorithm": "none"}
    meta |= {"seed": "0", "demos.sha256": "", "created": ""}
    draft = Policy.__new__(Policy)
    draft._check_golden = lambda: None
    draft.__init__(p, meta)
    p["golden.action"] = draft.mean(p["golden.obs"], code).astype(np.float32)
    return tensors.serialize(p, meta)


@pytest.mark.parametrize("arch", ["two-branch", "mlp"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "elu"])
@pytest.mark.parametrize("widths", [(7,), (16, 8), (9, 17, 4)], ids=len)
@pytest.mark.parametrize("latent", ["none", "one-hot:3", "gaussian:2"])
def test_networks_of_every_shape(arch, activation, widths, latent, tmp_path, request):
    data = policy_file(arch, activation, widths, latent)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(data)
    Policy.load(path)
    # The runtime computes the golden vectors by itself, and refuses the file if they differ.
    sog_run = request.getfixturevalue("sog_run")
    done = subprocess.run([sog_run, "info", path], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
