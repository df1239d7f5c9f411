"""PyTorch with transformers, as one writes it by hand: tokenise, pad, run; perhaps compiled.

Arguments: the model's folder, `cpu`, `cuda` or `mps`, `float32` or `float16`, `eager` or `compiled`, threads.
"""

import os

import mkl
import protocol


def start(folder, device, arithmetic, mode, threads):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch finds no CUDA device")
    if device == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("this PyTorch finds no Metal device")
    torch.set_num_threads(int(threads))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model = model.to(device=device, dtype=getattr(torch, arithmetic)).eval()
    if mode == "compiled":
        model = torch.compile(model, dynamic=True)

    @torch.inference_mode()
    def score(pairs):
        queries, documents = map(list, zip(*pairs))
        batch = tokenizer(
            queries, documents, padding=True, truncation="only_second", max_length=512, return_tensors="pt"
        )
        # The copy back waits for the device.
        return model(**batch.to(device)).logits.reshape(-1).float().cpu().tolist()

    name = torch.cuda.get_device_name() if device == "cuda" else device
    return f"torch {torch.__version__}, {name}{mkl.note()}", score


mkl.unchained()
protocol.run(start)
