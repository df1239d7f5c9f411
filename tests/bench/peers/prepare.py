"""Completes a folder that `rescored compile --export` wrote with what peers expect beside it.

The tokenizer's small files; `onnx/model.onnx` as optimum exports the weights, in place of rescored's own, which lacks what
the last layer need not compute; and `onnx/model_int8.onnx`: a graph that is named, or ONNX Runtime's own dynamic
quantisation of it. Arguments: the folder, optionally an int8 graph to copy.
"""

import json
import shutil
import sys
from pathlib import Path


def main(folder, int8=None):
    folder = Path(folder)
    special = {"cls": "[CLS]", "mask": "[MASK]", "pad": "[PAD]", "sep": "[SEP]", "unk": "[UNK]"}
    special = {f"{name}_token": token for name, token in special.items()}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    merge(folder / "tokenizer_config.json", special)
    merge(folder / "config.json", {"pad_token_id": 0})
    plain = folder / "plain" / "model.onnx"
    if not plain.exists():
        export(folder, plain.parent)
    shutil.copyfile(plain, folder / "onnx" / "model.onnx")
    quantised = folder / "onnx" / "model_int8.onnx"
    if int8:
        shutil.copyfile(int8, quantised)
    elif not quantised.exists():
        quantise(plain, quantised)


def merge(path, fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def export(folder, plain):
    from optimum.exporters.onnx import main_export

    main_export(str(folder), str(plain), task="text-classification", library_name="transformers", do_validation=False)


def quantise(plain, quantised):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(plain), str(quantised), weight_type=QuantType.QInt8)


main(*sys.argv[1:])
