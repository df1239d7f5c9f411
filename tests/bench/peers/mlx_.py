"""MLX: the same BERT cross-encoder written with mlx.nn, its weights from the folder's safetensors.

16-bit floats where there is a GPU, 32-bit ones on the CPU. Arguments: the model's folder, threads (MLX takes all cores).
"""

import importlib.metadata
import json

import protocol


def start(folder, _threads):
    import mlx.core as mx
    from tokenizers import Tokenizer

    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    if on_gpu and not mx.metal.is_available() and not mx.cuda.is_available():
        on_gpu = False
        mx.set_default_device(mx.cpu)
    arithmetic = mx.float16 if on_gpu else mx.float32
    weights = {name: weight.astype(arithmetic) for name, weight in mx.load(f"{folder}/model.safetensors").items()}
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(512, strategy="only_second")
    tokenizer.enable_padding()
    forward = mx.compile(lambda ids, types, mask: bert(mx, (weights, config), ids, types, mask))

    def score(pairs):
        encodings = tokenizer.encode_batch(pairs)
        width = max(sum(one.attention_mask) for one in encodings)
        ids = mx.array([one.ids[:width] for one in encodings])
        types = mx.array([one.type_ids[:width] for one in encodings])
        mask = mx.array([one.attention_mask[:width] for one in encodings])
        return forward(ids, types, mask).astype(mx.float32).tolist()

    # The arithmetic is reported, because the device decides it.
    word = "gpu, fp16" if on_gpu else "cpu, fp32"
    return f"mlx {importlib.metadata.version('mlx')}, {word}", score


def bert(mx, model, ids, types, mask):
    """Logits of a batch, one a row."""
    weights, config = model
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    eps = config.get("layer_norm_eps", 1e-12)

    def dense(x, name):
        return mx.addmm(weights[name + ".bias"], x, weights[name + ".weight"].T)

    def norm(x, name):
        return mx.fast.layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], eps)

    def gelu(x):
        return x * (1 + mx.erf(x / 2**0.5)) / 2

    rows, width = ids.shape
    embeddings = "bert.embeddings."
    x = weights[embeddings + "word_embeddings.weight"][ids]
    x = x + weights[embeddings + "token_type_embeddings.weight"][types]
    x = norm(x + weights[embeddings + "position_embeddings.weight"][:width], embeddings + "LayerNorm")
    hidden = x.shape[-1]
    bias = mx.where(mask[:, None, None, :] == 1, 0.0, -1e4).astype(x.dtype)

    def split(x):
        return x.reshape(rows, width, heads, hidden // heads).transpose(0, 2, 1, 3)

    for layer in range(layers):
        at = f"bert.encoder.layer.{layer}."
        q, k, v = (split(dense(x, at + "attention.self." + name)) for name in ("query", "key", "value"))
        mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=(hidden // heads) ** -0.5, mask=bias)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(rows, width, hidden)
        x = norm(x + dense(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = gelu(dense(x, at + "intermediate.dense"))
        x = norm(x + dense(inner, at + "output.dense"), at + "output.LayerNorm")
    pooled = mx.tanh(dense(x[:, 0], "bert.pooler.dense"))
    return dense(pooled, "classifier").reshape(-1)


protocol.run(start)
