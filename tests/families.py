"""Writes the small rerankers of tests/data/families: one of every family that is read from safetensors beyond BERT's near
kin, decoders included, with random weights, and the logits that transformers computes of them in 32-bit floats. What transformers has no class
for (`new`, jina's BERT) is computed here, as the model's own code defines it.

    python -m venv .venv && .venv/bin/pip install torch transformers safetensors
    .venv/bin/python tests/families.py tests/data/families [NAME ...]

A folder holds config.json, model.safetensors (16-bit floats), for a head kept beside the encoder modules.json and its
folders, for a decoder that answers in words verdict.json with their ids, and golden.json: token ids, token types and the
logit of each pair, one pair at a time, on the CPU.
"""

import json
import sys
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import save_file

WORDS = 300
# Lengths of the pairs: one token, around a window's edge, longer than every window and bucket.
LENGTHS = [1, 2, 7, 8, 9, 17, 40, 90, 200]
# Of decoders, whose prompts are longer.
DECODER_LENGTHS = [1, 2, 7, 16, 17, 40, 91, 200, 333]

MODERNBERT = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "local_attention": 16,
    "num_labels": 1,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
DEBERTA = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
    "num_labels": 1,
    "initializer_range": 0.3,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_act": "gelu",
    "layer_norm_eps": 1e-7,
}


def modernbert(**more):
    return hf.ModernBertForSequenceClassification(hf.ModernBertConfig(**MODERNBERT, **more))


def deberta(**more):
    return hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**(DEBERTA | more)))


def xlm_roberta():
    config = hf.XLMRobertaConfig(
        vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=258, type_vocab_size=1, num_labels=1, initializer_range=0.3,
    )
    return hf.XLMRobertaForSequenceClassification(config)


DECODER = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "num_labels": 1,
    "attn_implementation": "eager",
}
# A decoder by its library's name, what it differs in, and the words of its verdict: none where it has a classifier. Head
# widths are not the hidden width by the heads; windows and scalings have their tails within the longest pairs.
DECODERS = {
    "qwen3": ("Qwen3", {"head_dim": 24, "tie_word_embeddings": True, "rope_theta": 1e6}, {"yes": 31, "no": 17}),
    "qwen3-classifier": (
        "Qwen3",
        {"head_dim": 16, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
        None,
    ),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False, "rope_theta": 1e6}, {"yes": 31}),
    "qwen2-classifier": ("Qwen2", {"num_key_value_heads": 1}, None),
    "llama": (
        "Llama",
        {
            "tie_word_embeddings": True,
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        {"yes": 299, "no": 0},
    ),
    "llama-both-sides": (
        "Llama",
        {
            "attention_bias": True, "mlp_bias": True, "is_causal": False,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        },
        None,
    ),
    "mistral": (
        "Mistral",
        {
            "head_dim": 10,
            "sliding_window": 33,
            "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128,
            },
        },
        {"yes": 31, "no": 17},
    ),
    "gemma": ("Gemma", {"head_dim": 80, "num_key_value_heads": 1}, {"yes": 31}),
    "gemma-classifier": ("Gemma", {"head_dim": 16}, None),
}
# Kept in bfloat16, as decoders mostly are.
BRAIN_FLOATS = ["mistral", "qwen2"]

FAMILIES = {
    "modernbert-cls": lambda: modernbert(classifier_pooling="cls"),
    "modernbert-mean-biased": lambda: modernbert(
        classifier_pooling="mean", norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True
    ),
    "deberta-v2": deberta,
    "deberta-v2-own-keys": lambda: deberta(share_att_key=False, pos_att_type=["c2p"], position_buckets=-1,
                                           max_relative_positions=24, norm_rel_ebd="none", type_vocab_size=2,
                                           position_biased_input=True),
    "xlm-roberta": xlm_roberta,
}


def randomise(model, kind=torch.float16):
    """Norms and biases begin as ones and zeros, which would hide a mix-up. Values are those of 16-bit floats."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 1:
                weights.add_(torch.randn_like(weights) * 0.2)
            weights.copy_(weights.to(kind).float())
    return model.float().eval()


def pairs(model, logit, lengths=LENGTHS):
    types = getattr(model.config, "type_vocab_size", 0) or 0
    for length in lengths:
        ids = torch.randint(5, WORDS, (1, length))
        kinds = torch.zeros_like(ids)
        if types > 1:
            kinds[:, length // 2 :] = 1
        with torch.no_grad():
            yield {"ids": ids[0].tolist(), "types": kinds[0].tolist(), "logit": logit(ids, kinds if types > 1 else None)}


def keep(folder, model, golden, kind=torch.float16):
    folder.mkdir(parents=True, exist_ok=True)
    model.to(kind).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def classifier(folder, build):
    torch.manual_seed(11)
    model = randomise(build())

    def logit(ids, kinds):
        more = {} if kinds is None else {"token_type_ids": kinds}
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits.item()

    keep(folder, model, list(pairs(model, logit)))


def decoder(folder, name):
    library, more, verdict = DECODERS[name]
    kind = torch.bfloat16 if name in BRAIN_FLOATS else torch.float16
    torch.manual_seed(16)
    task = "ForCausalLM" if verdict else "ForSequenceClassification"
    config = getattr(hf, library + "Config")(**(DECODER | more))
    model = randomise(getattr(hf, library + task)(config), kind)

    def logit(ids, _):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        if not verdict:
            return logits.item()
        last = logits[0, -1]
        return (last[verdict["yes"]] - (last[verdict["no"]] if "no" in verdict else 0.0)).item()

    keep(folder, model, list(pairs(NO_TYPES, logit, DECODER_LENGTHS)), kind)
    if verdict:
        (folder / "verdict.json").write_text(json.dumps(verdict) + "\n")


def modules(folder):
    """A bare encoder and the head that sentence-transformers keeps in folders of its own."""
    torch.manual_seed(12)
    model = randomise(hf.ModernBertModel(hf.ModernBertConfig(**MODERNBERT)))
    hidden = MODERNBERT["hidden_size"]
    dense, norm, last = (randomise(part) for part in
                         (torch.nn.Linear(hidden, hidden), torch.nn.LayerNorm(hidden), torch.nn.Linear(hidden, 1)))

    def logit(ids, _):
        row = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
        return last(norm(torch.nn.functional.gelu(dense(row)))).item()

    golden = list(pairs(model, logit))
    keep(folder, model, golden)
    base = "sentence_transformers.models."
    listed = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_LayerNorm", "LayerNorm"),
              ("4_Dense", "Dense")]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": at, "name": str(at), "path": path, "type": base + kind} for at, (path, kind) in enumerate(listed)]))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder"}) + "\n")
    activation = "torch.nn.modules."
    configs = {
        "1_Pooling": {"embedding_dimension": hidden, "pooling_mode": "cls"},
        "2_Dense": {"in_features": hidden, "out_features": hidden, "bias": True,
                    "activation_function": activation + "activation.GELU"},
        "3_LayerNorm": {"dimension": hidden},
        "4_Dense": {"in_features": hidden, "out_features": 1, "bias": True,
                    "activation_function": activation + "linear.Identity"},
    }
    weights = {"2_Dense": ("linear", dense), "3_LayerNorm": ("norm", norm), "4_Dense": ("linear", last)}
    for path, config in configs.items():
        (folder / path).mkdir(exist_ok=True)
        (folder / path / "config.json").write_text(json.dumps(config))
        if path in weights:
            name, part = weights[path]
            tensors = {f"{name}.weight": part.weight.data.half(), f"{name}.bias": part.bias.data.half()}
            save_file(tensors, folder / path / "model.safetensors")


def flash(folder):
    """XLM-R of transformers, kept under the names of jinaai's implementation."""
    torch.manual_seed(13)
    model = randomise(xlm_roberta())

    def logit(ids, _):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.item()

    golden = list(pairs(model, logit))
    names = [("roberta.embeddings.LayerNorm", "roberta.emb_ln"), ("encoder.layer.", "encoder.layers."),
             ("attention.output.dense", "mixer.out_proj"), ("attention.output.LayerNorm", "norm1"),
             ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("output.LayerNorm", "norm2")]
    state, parts = {}, {}
    for name, value in model.state_dict().items():
        for old, new in names:
            name = name.replace(old, new)
        if ".attention.self." in name:
            stem, part = name.split(".attention.self.")
            kind, what = part.split(".")
            parts.setdefault(f"{stem}.mixer.Wqkv.{what}", {})[kind] = value
        else:
            state[name] = value
    for name, three in parts.items():
        state[name] = torch.cat([three["query"], three["key"], three["value"]])
    keep_state(folder, state, model.config.to_dict(), golden)


def keep_state(folder, state, config, golden):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


class Weights(dict):
    """Tensors by name; one that is asked for first is drawn. Values are those of 16-bit floats."""

    def draw(self, name, *shape):
        if name not in self:
            value = torch.randn(shape) * (0.2 if len(shape) == 1 else 0.3)
            if name.endswith("weight") and len(shape) == 1:
                value = value + 1
            self[name] = value.half().float()
        return self[name]

    def dense(self, name, x, outputs, bias=True):
        weight = self.draw(f"{name}.weight", outputs, x.shape[-1])
        return torch.nn.functional.linear(x, weight, self.draw(f"{name}.bias", outputs) if bias else None)

    def norm(self, name, x, epsilon):
        width = x.shape[-1]
        return torch.nn.functional.layer_norm(x, (width,), self.draw(f"{name}.weight", width),
                                              self.draw(f"{name}.bias", width), epsilon)


def attend(query, key, value, heads, turn=None, bias=0.0):
    """Attention of one pair's rows, `[tokens, hidden]`."""
    tokens, hidden = query.shape
    query, key, value = (x.view(tokens, heads, hidden // heads).transpose(0, 1) for x in (query, key, value))
    if turn is not None:
        query, key = turn(query), turn(key)
    scores = query @ key.transpose(1, 2) / (hidden // heads) ** 0.5 + bias
    return (scores.softmax(-1) @ value).transpose(0, 1).reshape(tokens, hidden)


def gte(folder, scaling):
    """Alibaba-NLP's `new` encoder, after its modeling.py."""
    config = {"model_type": "new", "architectures": ["NewForSequenceClassification"], "hidden_size": 32,
              "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": WORDS,
              "max_position_embeddings": 512, "type_vocab_size": 1, "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm",
              "hidden_act": "gelu", "position_embedding_type": "rope", "rope_theta": 20000, "rope_scaling": scaling,
              "pack_qkv": True, "logn_attention_scale": False, "num_labels": 1}
    hidden, wide, heads, width = 32, 48, 2, 16
    torch.manual_seed(14)
    weights = Weights()
    base, factor = config["rope_theta"], scaling["factor"]
    steps = torch.arange(0, width, 2).float()
    if scaling.get("mixed_b") is None:
        turns = 1.0 / ((base * factor) ** (steps / width)) / factor ** (2 / width)
    else:
        power = scaling["mixed_b"]
        a = torch.tensor(factor).log() / (width / 2) ** power
        turns = 1.0 / (base ** (steps / width)) / (a * torch.arange(1, width // 2 + 1).float() ** power).exp()

    def turn(x):
        angles = torch.outer(torch.arange(x.shape[1]).float(), turns)
        angles = torch.cat((angles, angles), dim=-1)
        first, second = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()

    def logit(ids, _):
        ids = ids[0]
        x = weights.draw("new.embeddings.word_embeddings.weight", WORDS, hidden)[ids]
        x = x + weights.draw("new.embeddings.token_type_embeddings.weight", 1, hidden)[0]
        x = weights.norm("new.embeddings.LayerNorm", x, 1e-12)
        for at in range(2):
            name = f"new.encoder.layer.{at}."
            all = weights.dense(name + "attention.qkv_proj", x, 3 * hidden)
            context = attend(*all.split(hidden, dim=-1), heads, turn)
            x = weights.norm(name + "attn_ln", x + weights.dense(name + "attention.o_proj", context, hidden), 1e-12)
            up, gate = weights.dense(name + "mlp.up_gate_proj", x, 2 * wide, bias=False).split(wide, dim=-1)
            down = weights.dense(name + "mlp.down_proj", torch.nn.functional.gelu(gate) * up, hidden)
            x = weights.norm(name + "mlp_ln", x + down, 1e-12)
        return weights.dense("classifier", weights.dense("new.pooler.dense", x[0], hidden).tanh(), 1).item()

    golden = list(pairs(NO_TYPES, logit))
    keep_state(folder, weights, config, golden)


def jina(folder):
    """jinaai's BERT with ALiBi, after its modeling_bert.py; three heads are no power of two."""
    hidden, wide, heads = 36, 48, 3
    config = {"model_type": "bert", "architectures": ["JinaBertForSequenceClassification"], "hidden_size": hidden,
              "intermediate_size": wide, "num_hidden_layers": 2, "num_attention_heads": heads, "vocab_size": WORDS,
              "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
              "position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": None, "num_labels": 1}
    torch.manual_seed(15)
    weights = Weights()
    slopes = torch.tensor([2.0 ** -4, 2.0 ** -8, 2.0 ** -2])

    def logit(ids, kinds):
        ids, kinds = ids[0], kinds[0]
        x = weights.draw("bert.embeddings.word_embeddings.weight", WORDS, hidden)[ids]
        x = x + weights.draw("bert.embeddings.token_type_embeddings.weight", 2, hidden)[kinds]
        x = weights.norm("bert.embeddings.LayerNorm", x, 1e-12)
        places = torch.arange(len(ids))
        bias = -(places[:, None] - places[None]).abs() * slopes[:, None, None]
        for at in range(2):
            name = f"bert.encoder.layer.{at}."
            three = (weights.dense(f"{name}attention.self.{part}", x, hidden) for part in ("query", "key", "value"))
            context = attend(*three, heads, bias=bias)
            context = weights.dense(name + "attention.output.dense", context, hidden)
            x = weights.norm(name + "attention.output.LayerNorm", context + x, 1e-12)
            gated, plain = weights.dense(name + "mlp.gated_layers", x, 2 * wide, bias=False).split(wide, dim=-1)
            down = weights.dense(name + "mlp.wo", torch.nn.functional.gelu(gated) * plain, hidden)
            x = weights.norm(name + "mlp.layernorm", down + x, 1e-12)
        return weights.dense("classifier", weights.dense("bert.pooler.dense", x[0], hidden).tanh(), 1).item()

    golden = list(pairs(TWO_TYPES, logit))
    keep_state(folder, weights, config, golden)


class Types:
    """As much of a model as `pairs` asks for: how many token types it has."""

    def __init__(self, types):
        self.config = hf.PretrainedConfig(type_vocab_size=types)


NO_TYPES, TWO_TYPES = Types(0), Types(2)


def main():
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    writers = {name: lambda folder, build=build: classifier(folder, build) for name, build in FAMILIES.items()}
    writers |= {
        "modernbert-modules": modules,
        "xlm-roberta-flash": flash,
        "gte": lambda folder: gte(folder, {"type": "ntk", "factor": 8.0}),
        "gte-mixed": lambda folder: gte(folder, {"type": "ntk", "factor": 4.0, "mixed_b": 0.5}),
        "jina": jina,
    }
    writers |= {name: lambda folder, name=name: decoder(folder, name) for name in DECODERS}
    for name, write in writers.items():
        if not wanted or name in wanted:
            write(out / name)
    print(f"transformers {hf.__version__}, torch {torch.__version__}")


main()
