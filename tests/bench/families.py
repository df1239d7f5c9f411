"""Measures rerankers of other shapes than the shipped one's, with random weights, over HTTP: pairs a second with one client of 32
documents and with several of 512, what compiling takes, and transformers beside it in the same run.

    python -m venv .venv && .venv/bin/pip install torch transformers safetensors
    .venv/bin/python tests/bench/families.py --rescored target/release/rescored --runtime LIBONNXRUNTIME --provider cuda \
        --tokenizer FOLDER --shapes xlmr-large

FOLDER holds the tokenizer.json of a small model of the family, and for a decoder its prompt.json; documents are cut so that a
pair has 85 tokens on average, a decoder's prompt not counted. Prints a table in Markdown.
"""

import argparse
import http.client
import json
import os
import random
import resource
import shutil
import subprocess
import threading
import time
from pathlib import Path

import torch
import transformers as hf

LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
XLMR = {"vocab_size": 250002, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5, "num_labels": 1}
QWEN3 = {"vocab_size": 151669, "head_dim": 128, "num_key_value_heads": 8, "max_position_embeddings": 40960,
         "rope_theta": 1e6, "tie_word_embeddings": True, "rms_norm_eps": 1e-6}
SHAPES = {
    "qwen3-0.6b": lambda: hf.Qwen3Config(**QWEN3, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
                                         num_attention_heads=16),
    "qwen3-4b": lambda: hf.Qwen3Config(**QWEN3, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
                                       num_attention_heads=32),
    "xlmr-large": lambda: hf.XLMRobertaConfig(**XLMR, **LARGE, max_position_embeddings=8194),
    "xlmr-base": lambda: hf.XLMRobertaConfig(**XLMR, **BASE, max_position_embeddings=514),
    "bert-large": lambda: hf.BertConfig(**LARGE, num_labels=1),
    "bert-base": lambda: hf.BertConfig(**BASE, num_labels=1),
    "modernbert-base": lambda: hf.ModernBertConfig(num_labels=1),
}
TOKENS = 85
QUERY = 12


def is_decoder(shape):
    return shape.startswith("qwen")


def build(shape, folder, tokenizer):
    """A folder as the hub keeps one: decoders in bfloat16, as they are published."""
    torch.manual_seed(3)
    kind = hf.AutoModelForCausalLM if is_decoder(shape) else hf.AutoModelForSequenceClassification
    with torch.device("cuda" if is_decoder(shape) and torch.cuda.is_available() else "cpu"):
        model = kind.from_config(SHAPES[shape]())
    model = model.to(torch.bfloat16) if is_decoder(shape) else model
    model.eval().save_pretrained(folder)
    files = [*Path(tokenizer).glob("*token*.json"), *(Path(tokenizer).glob("prompt.json") if is_decoder(shape) else [])]
    for file in files:
        shutil.copy(file, folder)
    return model


def encoder_of(shape, tokenizer, folder):
    """The ids of a pair, in a decoder's prompt where it is one."""
    if not is_decoder(shape):
        return lambda query, document: tokenizer(query, document)["input_ids"]
    prompt = json.loads((Path(folder) / "prompt.json").read_text())

    def ids(query, document):
        body = prompt["body"].format(instruction=prompt["instruction"], query=query, document=document)
        return [one for part in (prompt["prefix"], body, prompt["suffix"])
                for one in tokenizer(part, add_special_tokens=False)["input_ids"]]

    return ids


def texts(tokenizer, count):
    """Queries and documents of words that the tokenizer knows, `TOKENS` a pair on average."""
    words = [word.strip("▁Ġ") for word in tokenizer.get_vocab() if word.strip("▁Ġ").isalpha() and len(word) > 3]
    random.seed(7)

    def text(tokens):
        taken = []
        while len(tokenizer(" ".join(taken), add_special_tokens=False)["input_ids"]) < tokens:
            taken.append(random.choice(words))
        return " ".join(taken)

    # Four tokens are special ones, about four the numbers that tell documents apart.
    lengths = [random.randint(TOKENS - QUERY - 48, TOKENS - QUERY + 32) for _ in range(count)]
    return [text(QUERY) for _ in range(8)], [text(length) for length in lengths]


def post(port, query, documents):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = json.dumps({"query": query, "documents": documents, "return_documents": False})
    connection.request("POST", "/v1/rerank", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {read[:300]!r}")


def rate(port, clients, size, data, seconds):
    """Pairs a second of so many clients, each with one request after the other."""
    queries, documents = data
    done, stop = [0] * clients, time.monotonic() + seconds

    def client(number):
        dice = random.Random(number)
        while time.monotonic() < stop:
            # No text repeats: pairs that are asked for at once are scored once.
            texts = [f"{number} {done[number] + at} {dice.choice(documents)}" for at in range(size)]
            post(port, dice.choice(queries), texts)
            done[number] += size

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - begun)


def serve(options, shape, models, data):
    variables = os.environ | {
        "RESCORED_MODEL_DIR": str(models), "RESCORED_MODELS": shape, "RESCORED_RUNTIME": options.runtime,
        "RESCORED_PROVIDER": options.provider, "RESCORED_LISTEN": "127.0.0.1:9400", "RESCORED_CACHE_BYTES": "0",
        "RESCORED_MAX_DOCUMENTS": "1000",
    }
    if options.precision:
        variables["RESCORED_PRECISION"] = options.precision
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    begun = time.monotonic()
    command = [options.rescored, "compile", shape, "--provider", options.provider]
    command += ["--precision", options.precision] if options.precision else []
    subprocess.run(command, env=variables, check=True)
    compiled = time.monotonic() - begun
    peak = max(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, before) / 1024
    log = open(models / "log", "w")
    process = subprocess.Popen([options.rescored, "serve"], env=variables, stdout=log, stderr=log)
    try:
        begun = time.monotonic()
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", 9400, timeout=10)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() - begun > 300:
                raise SystemExit((models / "log").read_text()[-3000:])
            time.sleep(0.2)
        ready = time.monotonic() - begun
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
        rate(9400, 1, 32, data, 3)
        one = rate(9400, 1, 32, data, options.seconds)
        rate(9400, 8, options.documents, data, 3)
        many = rate(9400, 8, options.documents, data, options.seconds)
    finally:
        process.terminate()
        process.wait()
    return {"compile s": compiled, "compile peak MiB": peak, "ready s": ready, "resident MiB": resident,
            "one client of 32": one, f"8 clients of {options.documents}": many}


def peer(model, encode, data):
    """transformers in its best batch: pairs sorted by length, tokens made beforehand, padded on the left for decoders."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decodes = model.config.model_type.startswith("qwen")
    model = model.to(device)
    model = model.half() if device == "cuda" and not decodes else model
    last = {"logits_to_keep": 1} if decodes else {}
    queries, documents = data
    dice = random.Random(5)
    count = 4096 if device == "cuda" else 64
    pairs = [(dice.choice(queries), dice.choice(documents)) for _ in range(count)]
    encoded = sorted((encode(*pair) for pair in pairs), key=len)
    best = 0.0
    for batch in (64, 128, 256) if device == "cuda" else (8, 32):
        for repeat in range(2):
            begun = time.monotonic()
            for at in range(0, count, batch):
                rows = encoded[at : at + batch]
                longest = max(map(len, rows))
                fill = [longest - len(row) for row in rows]
                before, behind = (fill, [0] * len(fill)) if decodes else ([0] * len(fill), fill)
                pad = lambda of, value: [[value] * a + of(row) + [value] * b for row, a, b in zip(rows, before, behind)]
                ids = torch.tensor(pad(list, 1), device=device)
                mask = torch.tensor(pad(lambda row: [1] * len(row), 0), device=device)
                with torch.no_grad():
                    model(input_ids=ids, attention_mask=mask, **last).logits.cpu()
            if repeat:
                best = max(best, count / (time.monotonic() - begun))
    return best


def main():
    parser = argparse.ArgumentParser()
    for name in ("rescored", "runtime", "tokenizer"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--precision")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--folder", default="target/families")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    models = Path(options.folder)
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_file=str(Path(options.tokenizer) / "tokenizer.json"))
    data = texts(tokenizer, 2000)
    rows = []
    for shape in options.shapes:
        model = build(shape, models / shape, options.tokenizer)
        weights = sum(part.numel() for part in model.parameters()) / 1e6
        figures = {"weights M": weights} | serve(options, shape, models, data)
        if not options.no_peer:
            encode = encoder_of(shape, tokenizer, models / shape)
            figures["transformers, best batch"] = peer(model, encode, data)
        rows.append((shape, figures))
        shutil.rmtree(models / shape)
    print(f"\n{options.provider}, torch {torch.__version__}, transformers {hf.__version__}, {TOKENS} tokens a pair\n")
    print("| shape | " + " | ".join(rows[0][1]) + " |")
    print("|---" * (len(rows[0][1]) + 1) + "|")
    for shape, figures in rows:
        print(f"| {shape} | " + " | ".join(f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in figures.values())
              + " |")


if __name__ == "__main__":
    main()
