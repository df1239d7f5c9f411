"""The plain way: ONNX Runtime, one padded batch. Arguments: the model's folder, a graph in it, threads."""

import protocol


def start(folder, graph, threads):
    from plain_onnxruntime import VERSION, scorer

    encode, forward = scorer(folder, graph, threads)
    return f"onnxruntime {VERSION}", lambda pairs: forward(encode(pairs))


protocol.run(start)
