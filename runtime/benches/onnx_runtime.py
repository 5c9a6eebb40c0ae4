"""Times ONNX Runtime on a policy file, one row at a time on one core.

    python3 onnx_runtime.py policy.safetensors [CALLS]

Needs numpy, onnx and onnxruntime. Writes nothing: the network, normaliser included, becomes an ONNX
model in memory, is checked against the file's golden vectors, and is called with one raw observation
and code at a time. Prints p50, p99 and p99.9 of a call, and of nothing, in ns. To be read beside
`inference_ns` of `sog-run bench` on the same file.
"""

import json
import struct
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def read(path):
    """Tensors and metadata of a safetensors file of float32."""
    data = open(path, "rb").read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + size + begin : 8 + size + end], np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def model(t, metadata):
    """The policy as an ONNX model: inputs `obs` and, where there is one, `code`; output `action`."""
    constants, nodes = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def linear(x, name, output):
        weight = constant(f"{name}.weight", t[f"{name}.weight"])
        return node("Gemm", [x, weight, constant(f"{name}.bias", t[f"{name}.bias"])], output, transB=1)

    clip = float(metadata["obs.clip"])
    x = node("Sub", ["obs", constant("mean", t["obs.mean"])], "centred")
    x = node("Mul", [x, constant("inv_std", 1 / np.sqrt(t["obs.var"] + 1e-8))], "scaled")
    x = node("Clip", [x, constant("low", -clip), constant("high", clip)], "x")
    x = node("Tanh", [linear(x, "actor.state.0", "first")], "hidden")
    x = linear(x, "actor.state.1", "state")
    inputs = [("obs", t["obs.mean"].shape[0])]
    if "actor.latent.weight" in t:
        inputs.append(("code", t["actor.latent.weight"].shape[1]))
        x = node("Add", [x, linear("code", "actor.latent", "latent")], "sum")
    x = linear(node("Tanh", [x], "second"), "actor.mean", "last")
    if metadata["mean.scale"] != "none":
        scale = constant("scale", float(metadata["mean.scale"]))
        x = node("Mul", [node("Tanh", [x], "bounded"), scale], "means")
    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
    output = info(x, t["actor.mean.bias"].shape[0])
    graph = helper.make_graph(nodes, "policy", [info(*i) for i in inputs], [output], constants)
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def figures(name, times):
    p50, p99, p999 = (int(np.quantile(times, q)) for q in (0.5, 0.99, 0.999))
    print(f"{name:<14} p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns")


def main():
    tensors, metadata = read(sys.argv[1])
    calls = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model(tensors, metadata), options, providers=["CPUExecutionProvider"]
    )
    feeds = [{"obs": row[None]} for row in tensors["golden.obs"]]
    if "golden.latent" in tensors:
        for feed, code in zip(feeds, tensors["golden.latent"]):
            feed["code"] = code[None]
    for feed, exact in zip(feeds, tensors["golden.action"]):
        assert np.allclose(session.run(None, feed)[0][0], exact, rtol=1e-5, atol=1e-5)

    names, run, clock = [session.get_outputs()[0].name], session.run, time.perf_counter_ns
    for i in range(2_000):
        run(names, feeds[i % len(feeds)])
    nothing, times = np.empty(calls, np.int64), np.empty(calls, np.int64)
    for i in range(calls):
        feed = feeds[i % len(feeds)]
        begin = clock()
        nothing[i] = clock() - begin
        begin = clock()
        run(names, feed)
        times[i] = clock() - begin
    figures("nothing", nothing)
    figures("ONNX Runtime", times)


main()
