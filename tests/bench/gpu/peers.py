"""Peers on the same GPU, the same weights and the same kind of passages, from text to scores in one process.

Arguments: a folder that `rescored compile --export` wrote, the folder of corpora, seconds a measurement, then contenders:
`st-fp32`, `st-fp16` (sentence-transformers' CrossEncoder at its defaults, batches of 32), `st-compile` (fp16,
torch.compile), `ort` (the exported fp32 graph through ONNX Runtime's CUDA provider, padded, transformers' tokenizer).
Each runs requests of 32 pairs one after the other (the seed configuration) and one long list in batches of 32 and 512.
"""

import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
CHARACTERS = 205


def passages(folder):
    sentences, result, passage = [], [], ""
    for file in ("pubmedqa/corpus.jsonl", "xquad-en/corpus.jsonl"):
        path = os.path.join(folder, file)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    parts = json.loads(line)["text"].split(". ")
                    sentences += [part + ". " for part in parts[:-1]] + parts[-1:]
    assert sentences, f"no corpus in {folder}"
    for at, sentence in enumerate(sentences):
        passage += sentence
        if len(passage) >= CHARACTERS // 3 + (at * 2654435761 % 97) * CHARACTERS * 4 // 3 // 97:
            result.append(passage)
            passage = ""
    return result


def sentence_transformer(folder, kind):
    import sentence_transformers
    import torch

    options = {"torch_dtype": torch.float16} if kind != "st-fp32" else {}
    model = sentence_transformers.CrossEncoder(folder, device="cuda", max_length=512, model_kwargs=options)
    if kind == "st-compile":
        model.model.compile(dynamic=True)
    identity = torch.nn.Identity()
    return lambda pairs, batch: model.predict(pairs, batch_size=batch, activation_fn=identity, show_progress_bar=False)


def onnx_runtime(folder):
    import onnxruntime
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_truncation(512, strategy="only_second")
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        os.path.join(folder, "onnx/model.onnx"), options, providers=["CUDAExecutionProvider"]
    )
    names = [given.name for given in session.get_inputs()]

    def predict(pairs, batch):
        import numpy

        logits = []
        order = sorted(range(len(pairs)), key=lambda at: -len(pairs[at][1]))
        for start in range(0, len(order), batch):
            encodings = tokenizer.encode_batch([pairs[at] for at in order[start : start + batch]])
            feeds = {
                "input_ids": numpy.array([one.ids for one in encodings], numpy.int64),
                "attention_mask": numpy.array([one.attention_mask for one in encodings], numpy.int64),
                "token_type_ids": numpy.array([one.type_ids for one in encodings], numpy.int64),
            }
            logits.append(session.run(None, {name: feeds[name] for name in names})[0])
        return logits

    return predict


def measure(name, predict, texts, seconds):
    def pairs(count, number):
        query = f"which treatment of case {number} has the better outcome"
        return [(query, texts[(number * count + 7 * at) % len(texts)]) for at in range(count)]

    for number in range(3):
        predict(pairs(32, number), 32)
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        predict(pairs(32, len(times) + 3), 32)
        times.append(time.perf_counter() - started)
    times.sort()
    rate = 32 * len(times) / sum(times)
    mean = 1e3 * sum(times) / len(times)
    print(f"{name}: 32 pairs a request: {rate:.0f} pairs/s; {mean:.2f} ms on average, {1e3 * times[int(len(times) * 0.99)]:.2f} p99")
    for batch in (32, 512):
        work = pairs(4096, 1)
        predict(work[:1024], batch)
        began = time.perf_counter()
        predict(work, batch)
        print(f"{name}: 4096 pairs in batches of {batch}: {4096 / (time.perf_counter() - began):.0f} pairs/s", flush=True)


def main():
    folder, corpora, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    texts = passages(corpora)
    for name in sys.argv[4:]:
        try:
            predict = onnx_runtime(folder) if name == "ort" else sentence_transformer(folder, name)
            measure(name, predict, texts, seconds)
        except Exception as error:  # a peer that does not run is reported, and the others go on
            print(f"{name}: did not run: {type(error).__name__}: {error}"[:400])


main()
