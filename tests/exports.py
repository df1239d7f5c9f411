"""Writes small cross-encoders with random weights, of every family that `graph` is to read, as transformers keeps them
(safetensors, config.json) and as torch exports them (ONNX), with logits of their own. Then check what is read of them:

    python -m venv .venv && .venv/bin/pip install torch transformers onnx onnxscript
    .venv/bin/python tests/exports.py FOLDER
    RESCORED_TEST_EXPORTS=FOLDER cargo test --test graph exports -- --ignored

With a second folder, tests/data/exports, it puts there what is tested without torch: of each family the graph of either
exporter, packed by zstd, and its pairs.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import torch
import transformers as hf

SIZES = {"vocab_size": 400, "num_labels": 1, "initializer_range": 0.3}
BERT = SIZES | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ROBERTA = BERT | {"max_position_embeddings": 66, "type_vocab_size": 1}
DISTILBERT = SIZES | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}
MPNET = BERT | {"max_position_embeddings": 66}
MODERNBERT = BERT | {"num_hidden_layers": 4, "intermediate_size": 48, "max_position_embeddings": 64, "local_attention": 8,
                     "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
ELECTRA = BERT | {"max_position_embeddings": 64}

# Family, configuration, class, whether it reads token types.
FAMILIES = [
    ("bert", hf.BertConfig(**BERT, max_position_embeddings=64), hf.BertForSequenceClassification, True),
    ("roberta", hf.RobertaConfig(**ROBERTA), hf.RobertaForSequenceClassification, False),
    ("xlm-roberta", hf.XLMRobertaConfig(**ROBERTA), hf.XLMRobertaForSequenceClassification, False),
    ("camembert", hf.CamembertConfig(**ROBERTA), hf.CamembertForSequenceClassification, False),
    ("electra", hf.ElectraConfig(**ELECTRA, embedding_size=16), hf.ElectraForSequenceClassification, True),
    ("electra-wide", hf.ElectraConfig(**ELECTRA, embedding_size=32), hf.ElectraForSequenceClassification, True),
    ("distilbert", hf.DistilBertConfig(**DISTILBERT), hf.DistilBertForSequenceClassification, False),
    ("mpnet", hf.MPNetConfig(**MPNET), hf.MPNetForSequenceClassification, False),
    ("modernbert", hf.ModernBertConfig(**MODERNBERT), hf.ModernBertForSequenceClassification, False),
    ("deberta-v2", hf.DebertaV2Config(**BERT, relative_attention=True), hf.DebertaV2ForSequenceClassification, False),
]


class Logits(torch.nn.Module):
    """A classifier that takes its inputs in order and gives logits alone."""

    def __init__(self, model, types):
        super().__init__()
        self.model, self.types = model, types

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        more = {"token_type_ids": token_type_ids} if self.types else {}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits


def tensors(length, types):
    ids = torch.randint(5, 400, (1, length))
    kinds = torch.zeros_like(ids)
    kinds[:, length // 2 :] = 1
    return (ids, torch.ones_like(ids)) + ((kinds,) if types else ())


def build(config, kind, attention):
    torch.manual_seed(3)
    model = kind(config) if attention is None else kind._from_config(config, attn_implementation=attention)
    with torch.no_grad():
        # Norms and biases begin as ones and zeros, which would hide a mix-up.
        for name, weights in model.named_parameters():
            if name.endswith("bias") or "norm" in name.lower():
                weights += 0.1 * torch.randn_like(weights)
            # Few different values take less room in the repository.
            weights.copy_((weights * 32).round() / 32)
    return model.eval()


def export(model, exporter, types, path):
    names = ["input_ids", "attention_mask", "token_type_ids"][: 3 if types else 2]
    if exporter == "torchscript":
        axes = {name: {0: "batch", 1: "sequence"} for name in names} | {"logits": {0: "batch"}}
        torch.onnx.export(model, tensors(12, types), path, input_names=names, output_names=["logits"], dynamo=False,
                          opset_version=17, dynamic_axes=axes)
    else:
        batch, sequence = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("sequence", min=2, max=60)
        two = tuple(torch.cat([row, row]) for row in tensors(12, types))
        torch.onnx.export(model, two, path, input_names=names, output_names=["logits"], dynamo=True,
                          external_data=False, dynamic_shapes={name: {0: batch, 1: sequence} for name in names})


def main(folder):
    warnings.simplefilter("ignore")
    for family, config, kind, types in FAMILIES:
        for attention in (None, "eager") if kind._supports_sdpa else ("eager",):
            for exporter in ("torchscript", "dynamo"):
                place = folder / f"{family}-{attention or 'sdpa'}-{exporter}"
                place.mkdir(parents=True, exist_ok=True)
                inner = build(config, kind, attention)
                inner.save_pretrained(place)
                model = Logits(inner, types).eval()
                try:
                    export(model, exporter, types, place / "model.onnx")
                except Exception as error:  # What torch cannot export cannot be read; say so and go on.
                    print(f"{place.name}: not exported: {type(error).__name__}: {error}".splitlines()[0])
                    continue
                with torch.no_grad():
                    pairs = [(given, model(*given).item()) for given in (tensors(n, types) for n in (5, 12, 31))]
                lines = [
                    {"ids": given[0][0].tolist(), "types": (given[2] if types else torch.zeros_like(given[0]))[0].tolist(),
                     "logit": logit}
                    for given, logit in pairs
                ]
                (place / "pairs.json").write_text(json.dumps(lines))
                print(f"{place.name}: written")


def keep(folder, into):
    for place in sorted(folder.glob("*-sdpa-*")):
        name = place.name.replace("-sdpa", "")
        if (place / "pairs.json").exists() and not name.startswith(("deberta", "modernbert", "mpnet")):
            subprocess.run(["zstd", "-19", "-q", "-f", place / "model.onnx", "-o", into / f"{name}.onnx.zst"], check=True)
            (into / f"{name}.json").write_text((place / "pairs.json").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        keep(Path(sys.argv[1]), Path(sys.argv[2]))
