"""The CPU's own fp32 product rate: a large product through ONNX Runtime, one session of one thread a core.

Arguments: threads. For each line, {"seconds": ..., "gflop": arithmetic of all threads}.
"""

import json
import sys
import threading
import time

import numpy
import onnxruntime
from onnx import TensorProto, helper

SIZE = 2048
REPEATS = 4


def session(weights):
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    shape = [SIZE, SIZE]
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)],
        [helper.make_tensor("b", TensorProto.FLOAT, shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def main(threads):
    numbers = numpy.random.default_rng(1).standard_normal((SIZE, SIZE), numpy.float32)
    sessions = [session(numbers) for _ in range(int(threads))]

    def work(one):
        for _ in range(REPEATS):
            one.run(None, {"a": numbers})

    print(json.dumps({"ready": f"onnxruntime {onnxruntime.__version__}"}), flush=True)
    for _ in sys.stdin:
        workers = [threading.Thread(target=work, args=[one]) for one in sessions]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        gflop = 2 * SIZE**3 * REPEATS * len(sessions) / 1e9
        print(json.dumps({"seconds": time.perf_counter() - started, "gflop": gflop}), flush=True)


main(*sys.argv[1:])
