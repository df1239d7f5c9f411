"""Variants of the graph for GPUs, timed and compared with golden logits.

The figures are in src/decisions/0045-nvidia-graph.md and src/decisions/0046-no-cuda-graphs.md.

Arguments: the source model (`models/ms-marco-MiniLM-L-12-v2/model.onnx`), the folder of golden files, seconds a measurement.
Needs onnx, numpy, onnxruntime-gpu and its CUDA libraries. Weights are the source's integers times their scales, in half
floats. Each line: a variant's distance to the golden fp32 logits with all 12 layers, and the rate of its first 6 layers,
128 pairs of 128 tokens a pass, two sessions in two threads, inputs on the device.
"""

import json
import os
import sys
import threading
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HIDDEN, HEADS, HEAD = 384, 12, 32
MICROSOFT = "com.microsoft"


def weights(path):
    graph = onnx.load(path).graph
    given = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    floats = {}
    for name, values in given.items():
        if name.endswith("_quantized"):
            stem = name[: -len("_quantized")]
            floats[stem] = (values.astype(np.float32) - np.float32(given[stem + "_zero_point"])) * given[stem + "_scale"]
        elif values.dtype == np.float32:
            floats[name] = values
    products = [(n.input[1][: -len("_quantized")], n.output[0]) for n in graph.node if n.op_type == "MatMulInteger"]
    layers = []
    for at in range(12):
        stem, mine = f"bert.encoder.layer.{at}.", [one for one in products if f"/layer.{at}/" in one[1]]
        pick = lambda part: next(floats[weight] for weight, output in mine if part in output)  # noqa: E731
        layer = {n: pick(f"/self/{word}/") for n, word in (("q", "query"), ("k", "key"), ("v", "value"))}
        layer |= {"o": pick("/attention/output/"), "u": pick("/intermediate/"), "d": pick(f"/layer.{at}/output/dense")}
        names = {"bq": "attention.self.query.bias", "bk": "attention.self.key.bias", "bv": "attention.self.value.bias"}
        names |= {"bo": "attention.output.dense.bias", "bu": "intermediate.dense.bias", "bd": "output.dense.bias"}
        names |= {"g1": "attention.output.LayerNorm.weight", "b1": "attention.output.LayerNorm.bias"}
        names |= {"g2": "output.LayerNorm.weight", "b2": "output.LayerNorm.bias"}
        layers.append(layer | {short: floats[stem + name] for short, name in names.items()})
    return floats, layers


class Writer:
    def __init__(self):
        self.nodes, self.constants = [], []

    def weight(self, values):
        values = np.asarray(values)
        values = values.astype(np.float16) if values.dtype in (np.float32, np.float64) else values
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def op(self, kind, inputs, domain="", outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0]


def graph(source, count, attention="added", norm="skip", gelu="bias", last="absorbed", embeddings="fused"):
    floats, layers = source
    w = Writer()
    table = lambda name: w.weight(floats["bert.embeddings." + name])  # noqa: E731
    norms = [table("LayerNorm.weight"), table("LayerNorm.bias")]
    if embeddings == "fused":
        row = lambda name: w.op("Unsqueeze", [name, w.weight(np.array([0]))])  # noqa: E731
        tables = [table(name + "_embeddings.weight") for name in ("word", "position", "token_type")]
        inputs = [row("input_ids"), row("token_type_ids"), *tables, *norms, "", row("position_ids")]
        x = w.op("EmbedLayerNormalization", inputs, MICROSOFT, 2, epsilon=1e-12)
        x = w.op("Reshape", [x, w.weight(np.array([-1, HIDDEN]))])
    else:
        pairs = (("word", "input_ids"), ("token_type", "token_type_ids"), ("position", "position_ids"))
        a, b, c = (w.op("Gather", [table(name + "_embeddings.weight"), ids]) for name, ids in pairs)
        x = w.op("LayerNormalization", [w.op("Add", [w.op("Add", [a, b]), c]), *norms], axis=-1, epsilon=1e-12)

    def normed(y, residual, bias, scale, shift):
        if norm == "skip":
            inputs = [y, residual, w.weight(scale), w.weight(shift), w.weight(bias)]
            return w.op("SkipLayerNormalization", inputs, MICROSOFT, epsilon=1e-12)
        total = w.op("Add", [w.op("Add", [y, w.weight(bias)]), residual])
        return w.op("LayerNormalization", [total, w.weight(scale), w.weight(shift)], axis=-1, epsilon=1e-12)

    def rest(context, residual, layer, bias):
        middle = normed(w.op("MatMul", [context, w.weight(layer["o"])]), residual, bias, layer["g1"], layer["b1"])
        up, bias = w.weight(layer["u"]), w.weight(layer["bu"])
        if gelu == "gemm":
            a = w.op("Gelu", [w.op("Gemm", [middle, up, bias])])
        elif gelu == "none":
            a = w.op("MatMul", [middle, up])
        else:
            kind = {"bias": "BiasGelu", "fast": "FastGelu"}[gelu]
            a = w.op(kind, [w.op("MatMul", [middle, up]), bias], MICROSOFT)
        return normed(w.op("MatMul", [a, w.weight(layer["d"])]), middle, layer["bd"], layer["g2"], layer["b2"])

    for at, layer in enumerate(layers[:count]):
        folded = layer["bo"] + layer["bv"] @ layer["o"]
        turned = lambda x: w.op("Transpose", [x], perm=[1, 0, 2])  # noqa: E731
        if at == count - 1 and last == "absorbed":
            first = w.op("Gather", [x, "starts"])
            scale = 1 / np.sqrt(HEAD)
            q = w.op("Gemm", [first, w.weight(layer["q"] * scale), w.weight(layer["bq"] * scale)])
            q = turned(w.op("Reshape", [q, w.weight(np.array([-1, HEADS, HEAD]))]))
            keys = layer["k"].reshape(HIDDEN, HEADS, HEAD).transpose(1, 2, 0)
            met = turned(w.op("MatMul", [q, w.weight(keys)]))
            deep = w.op("RestorePadding", [x, "token_offset"], MICROSOFT)
            scores = w.op("FusedMatMul", [met, deep], MICROSOFT, transB=1)
            never = [w.op("Less", ["columns", "lengths"]), w.weight(np.float16(0)), w.weight(np.float16(-1e4))]
            shares = w.op("Softmax", [w.op("Add", [scores, w.op("Where", never)])], axis=-1)
            values = layer["v"].reshape(HIDDEN, HEADS, HEAD).transpose(1, 0, 2)
            context = turned(w.op("MatMul", [turned(w.op("MatMul", [shares, deep])), w.weight(values)]))
            x = rest(w.op("Reshape", [context, w.weight(np.array([-1, HIDDEN]))]), first, layer, folded)
            break
        if attention == "packed":
            joined = w.weight(np.concatenate([layer[n] for n in "qkv"], 1))
            biases = w.weight(np.concatenate([layer["b" + n] for n in "qkv"]))
            inputs = [x, joined, biases, "token_offset", "cumulative"]
            x = rest(w.op("PackedAttention", inputs, MICROSOFT, num_heads=HEADS), x, layer, layer["bo"])
            continue
        query, bias = w.weight(layer["q"]), w.weight(layer["bq"])
        if attention == "gemm":
            q = w.op("Gemm", [x, query, bias])
        elif attention == "none":
            q = w.op("MatMul", [x, query])
        else:
            q = w.op("Add", [w.op("FusedMatMul", [x, query], MICROSOFT), bias])
        k, v = (w.op("MatMul", [x, w.weight(layer[n])]) for n in "kv")
        inputs = [q, k, v, "", "token_offset", "cumulative"]
        x = rest(w.op("PackedMultiHeadAttention", inputs, MICROSOFT, num_heads=HEADS), x, layer, folded)
    if last != "absorbed":
        x = w.op("Gather", [x, "starts"])
    head = [w.weight(floats["bert.pooler.dense.weight"]), w.weight(floats["bert.pooler.dense.bias"])]
    x = w.op("Tanh", [w.op("Gemm", [x, *head])])
    tail = [w.weight(floats["classifier.weight"].reshape(HIDDEN, 1)), w.weight(floats["classifier.bias"])]
    w.nodes.append(helper.make_node("Cast", [w.op("Gemm", [x, *tail])], ["logits"], to=TensorProto.FLOAT))
    shapes = {"input_ids": ["T"], "token_type_ids": ["T"], "position_ids": ["T"], "starts": ["B"], "cumulative": ["C"]}
    shapes |= {"token_offset": ["B", "S"], "lengths": ["B", 1, 1], "columns": ["S"]}
    read = {name for node in w.nodes for name in node.input}
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT32, s) for n, s in shapes.items() if n in read]
    output = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 1])]
    sets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    body = helper.make_graph(w.nodes, "variant", inputs, output, w.constants)
    return helper.make_model(body, opset_imports=sets, ir_version=10).SerializeToString()


def feeds(ids, types):
    lengths = np.array([len(one) for one in ids], np.int32)
    longest, ends = int(lengths.max()), np.cumsum(lengths)
    there = np.concatenate([np.arange(n) + at * longest for at, n in enumerate(lengths)])
    beyond = np.concatenate([np.arange(n, longest) + at * longest for at, n in enumerate(lengths)])
    flat = lambda parts: np.concatenate(parts).astype(np.int32)  # noqa: E731
    return {
        "input_ids": flat(ids),
        "token_type_ids": flat(types),
        "position_ids": flat([np.arange(n) for n in lengths]),
        "starts": (ends - lengths).astype(np.int32),
        "cumulative": np.concatenate([[0], ends]).astype(np.int32),
        "token_offset": flat([there, beyond]).reshape(len(lengths), longest),
        "lengths": lengths.reshape(-1, 1, 1),
        "columns": np.arange(longest, dtype=np.int32),
    }


def session(model, options):
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.enable_mem_pattern = False
    return ort.InferenceSession(model, settings, providers=[("CUDAExecutionProvider", {"device_id": 0} | options)])


def distance(model, options, golden):
    run, gaps = session(model, options), []
    names = {one.name for one in run.get_inputs()}
    for start in range(0, len(golden), 20):
        ids, types, wanted = zip(*golden[start : start + 20])
        given = {name: values for name, values in feeds(ids, types).items() if name in names}
        gaps += list(np.abs(run.run(None, given)[0].reshape(-1) - np.array(wanted)))
    return f"{max(gaps):.4f} at most, {np.mean(gaps):.4f} on average"


def rate(model, options, pairs, seconds, threads=2):
    random, bound = np.random.default_rng(1), []
    for _ in range(threads):
        run = session(model, options)
        given = feeds([random.integers(1000, 30000, 128)] * pairs, [np.arange(128) > 10] * pairs)
        names, binding = {one.name for one in run.get_inputs()}, run.io_binding()
        kept = {name: ort.OrtValue.ortvalue_from_numpy(v, "cuda", 0) for name, v in given.items() if name in names}
        for name, value in kept.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("logits", "cuda", 0)
        for _ in range(3):
            run.run_with_iobinding(binding)
        bound.append((run, binding, kept))
    counts, until = [0] * threads, time.time() + seconds

    def work(at):
        while time.time() < until:
            bound[at][0].run_with_iobinding(bound[at][1])
            counts[at] += 1

    began = time.time()
    workers = [threading.Thread(target=work, args=(at,)) for at in range(threads)]
    [one.start() for one in workers]
    [one.join() for one in workers]
    return f"{sum(counts) * pairs / (time.time() - began):.0f} pairs/s"


def main():
    source, folder, seconds = weights(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    lines = lambda file: [json.loads(line) for line in open(os.path.join(folder, file), encoding="utf-8")]  # noqa: E731
    logits = {line["id"]: line["logit"] for line in lines("golden-fp32.jsonl")}
    golden = [
        (np.array(one["input_ids"]), np.array(one["token_type_ids"]), logits[one["id"]]) for one in lines("tokens.jsonl")
    ]
    variants = [
        ("PackedAttention, all rows of the last layer", {"attention": "packed", "last": "whole"}, {}),
        ("PackedAttention, [CLS] rows", {"attention": "packed"}, {}),
        ("PackedMultiHeadAttention, query bias in a Gemm", {"attention": "gemm"}, {}),
        ("as written: query bias added", {}, {}),
        ("Add and LayerNormalization", {"norm": "plain"}, {}),
        ("Gemm and Gelu", {"gelu": "gemm"}, {}),
        ("FastGelu", {"gelu": "fast"}, {}),
        ("embeddings gathered and added", {"embeddings": "plain"}, {}),
        ("memory-efficient attention", {}, {"sdpa_kernel": "2"}),
        ("attention spelled out", {}, {"sdpa_kernel": "16"}),
        ("bound: no activation", {"gelu": "none"}, {}),
        ("bound: no query bias", {"attention": "none"}, {}),
    ]
    for name, kinds, options in variants:
        gap = "" if name.startswith("bound") else distance(graph(source, 12, **kinds), options, golden)
        print(f"{name}: {rate(graph(source, 6, **kinds), options, 128, seconds)}; {gap}", flush=True)
    best = graph(source, 6)
    for pairs in (32, 128, 256, 512):
        alone, two = rate(best, {}, pairs, seconds, 1), rate(best, {}, pairs, seconds)
        captured = rate(best, {"enable_cuda_graph": "1"}, pairs, seconds, 1)
        print(f"{pairs} pairs a pass: {alone} in one session, {captured} as a CUDA graph, {two} in two", flush=True)


main()
