"""Writes the small cross-encoders of tests/data/families: one of every family that is read from safetensors beyond BERT's near
kin, with random weights, and the logits that transformers computes of them in 32-bit floats.

    python -m venv .venv && .venv/bin/pip install torch transformers safetensors
    .venv/bin/python tests/families.py tests/data/families

A folder holds config.json, model.safetensors (16-bit floats), for a head kept beside the encoder modules.json and its
folders, and golden.json: token ids, token types and the logit of each pair, one pair at a time, on the CPU.
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


def randomise(model):
    """Norms and biases begin as ones and zeros, which would hide a mix-up. Values are those of 16-bit floats."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 1:
                weights.add_(torch.randn_like(weights) * 0.2)
            weights.copy_(weights.half().float())
    return model.float().eval()


def pairs(model, logit):
    types = getattr(model.config, "type_vocab_size", 0) or 0
    for length in LENGTHS:
        ids = torch.randint(5, WORDS, (1, length))
        kinds = torch.zeros_like(ids)
        if types > 1:
            kinds[:, length // 2 :] = 1
        with torch.no_grad():
            yield {"ids": ids[0].tolist(), "types": kinds[0].tolist(), "logit": logit(ids, kinds if types > 1 else None)}


def keep(folder, model, golden):
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def classifier(folder, build):
    torch.manual_seed(11)
    model = randomise(build())

    def logit(ids, kinds):
        more = {} if kinds is None else {"token_type_ids": kinds}
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits.item()

    keep(folder, model, list(pairs(model, logit)))


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


def main():
    out = Path(sys.argv[1])
    for name, build in FAMILIES.items():
        classifier(out / name, build)
    modules(out / "modernbert-modules")
    print(f"{len(FAMILIES) + 1} families, transformers {hf.__version__}, torch {torch.__version__}")


main()
