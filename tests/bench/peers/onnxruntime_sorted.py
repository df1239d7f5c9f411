"""ONNX Runtime, batches of 8 of near-equal length. Arguments: the model's folder, a graph in it, threads."""

import protocol

BATCH = 8


def start(folder, graph, threads):
    from plain_onnxruntime import VERSION, scorer

    encode, forward = scorer(folder, graph, threads)

    def score(pairs):
        encodings = encode(pairs)
        order = sorted(range(len(pairs)), key=lambda at: sum(encodings[at].attention_mask))
        logits = [0.0] * len(pairs)
        for first in range(0, len(order), BATCH):
            some = order[first : first + BATCH]
            for at, logit in zip(some, forward([encodings[at] for at in some])):
                logits[at] = logit
        return logits

    return f"onnxruntime {VERSION}", score


protocol.run(start)
