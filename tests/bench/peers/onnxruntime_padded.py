"""The plain way to rerank in Python: onnxruntime, one padded batch, two threads.

A peer reads one JSON line a request on standard input, {"pairs": [[query, document], ...]}, and answers with one JSON
line, {"seconds": time of tokenising and scoring, "logits": [...]}. Arguments: the model's folder, threads.
"""

import json
import sys
import time

import numpy
import onnxruntime
from tokenizers import Tokenizer


def main(folder, threads):
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(512, strategy="only_second")
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    print(json.dumps({"ready": f"onnxruntime {onnxruntime.__version__}"}), flush=True)
    for line in sys.stdin:
        pairs = json.loads(line)["pairs"]
        started = time.perf_counter()
        encodings = tokenizer.encode_batch([tuple(pair) for pair in pairs])
        feed = {
            "input_ids": numpy.array([one.ids for one in encodings], numpy.int64),
            "attention_mask": numpy.array([one.attention_mask for one in encodings], numpy.int64),
            "token_type_ids": numpy.array([one.type_ids for one in encodings], numpy.int64),
        }
        logits = session.run(None, {name: feed[name] for name in wanted})[0].reshape(-1)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "logits": logits.tolist()}), flush=True)


main(*sys.argv[1:])
