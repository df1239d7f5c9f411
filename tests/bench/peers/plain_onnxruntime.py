"""ONNX Runtime in Python as one writes it by hand: tokenise, pad, run."""

import numpy
import onnxruntime
from tokenizers import Tokenizer

VERSION = onnxruntime.__version__


def scorer(folder, graph, threads):
    """A function from pairs to logits, all in one padded batch."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(512, strategy="only_second")
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(f"{folder}/{graph}", options, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}

    def encode(pairs):
        return tokenizer.encode_batch(pairs)

    def forward(encodings):
        width = max(sum(one.attention_mask) for one in encodings)
        feed = {
            "input_ids": [one.ids[:width] for one in encodings],
            "attention_mask": [one.attention_mask[:width] for one in encodings],
            "token_type_ids": [one.type_ids[:width] for one in encodings],
        }
        feed = {name: numpy.array(feed[name], numpy.int64) for name in wanted}
        return session.run(None, feed)[0].reshape(-1)

    return encode, forward
