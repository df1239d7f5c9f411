"""sentence-transformers' CrossEncoder at its defaults (batches of 32).

Arguments: the model's folder, `torch`, `torch-compile`, `torch-cuda-float32`, `torch-cuda-float16`, `onnx` or `openvino`,
threads.
"""

import os
import sys

import mkl
import protocol


def start(folder, backend, threads):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import sentence_transformers
    import torch

    torch.set_num_threads(int(threads))
    device = "cuda" if backend.startswith("torch-cuda") else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch finds no CUDA device")
    options = {
        "torch-cuda-float16": {"torch_dtype": torch.float16},
        "onnx": {"provider": "CPUExecutionProvider", "file_name": "onnx/model.onnx", "export": False},
        "openvino": {"ov_config": {"INFERENCE_NUM_THREADS": int(threads), "INFERENCE_PRECISION_HINT": "f32"}},
    }
    model = sentence_transformers.CrossEncoder(
        folder,
        backend=backend.split("-")[0],
        device=device,
        max_length=512,
        model_kwargs=options.get(backend, {}),
    )
    if backend == "torch-compile":
        model.model.compile(dynamic=True)
    identity = torch.nn.Identity()
    version = f"sentence-transformers {sentence_transformers.__version__}, {of(backend)}"
    return version, lambda pairs: model.predict(pairs, activation_fn=identity, show_progress_bar=False)


def of(backend):
    if backend == "onnx":
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"
    if backend == "openvino":
        import openvino

        return f"openvino {openvino.__version__.split('-')[0]}"
    import torch

    return f"torch {torch.__version__}{mkl.note()}"


if "torch" in sys.argv[2]:
    mkl.unchained()
protocol.run(start)
