#!/bin/sh
# How the image for NVIDIA starts: the first time, the model that it brings is laid into the volume at /models and its graph is
# compiled and proved on the GPU that will serve; then the program takes this process over. Other sub-commands than `serve`
# go straight to it. What cannot work is one sentence and exit code 64, that of bad settings, so that nothing restarts it.
set -eu
[ "${1:-serve}" = serve ] || exec rescored "$@"

seed=/usr/local/share/rescored/models
models=${RESCORED_MODEL_DIR:-/models}
fail() {
    echo "rescored: $*" >&2
    exit 64
}

[ -e /dev/nvidiactl ] ||
    fail "no GPU is here: start the container with one (docker run --gpus all; Kubernetes: nvidia.com/gpu), or use the CPU image"
if [ ! -e "$models/.runtime" ]; then
    { [ -d "$models" ] && [ -w "$models" ]; } ||
        fail "$models cannot be written by user $(id -u): mount a volume there that it may write, for the model and the graph of this GPU"
    # A copy that was cut short has no .runtime, which comes last.
    for part in "$seed"/*; do cp -R "$part" "$models/"; done
    cp -R "$seed/.runtime" "$models/.runtime.part"
    mv "$models/.runtime.part" "$models/.runtime"
fi
# A graph is compiled anew by another version, which may pass over what an older one wrote.
stamp=$(rescored --version | tr ' ' '-')
for model in $(printf %s "${RESCORED_MODELS:-}" | tr , ' '); do
    case "$model" in */*) continue ;; esac
    [ ! -e "$models/$model/compiled/$stamp" ] || continue
    if [ ! -w "$models/$model" ]; then
        ls "$models/$model/compiled"/fp16*.onnx >/dev/null 2>&1 ||
            fail "$models/$model has no graph for this GPU and user $(id -u) may not write one: mount it writable"
        continue
    fi
    rescored compile "$model" --provider cuda || fail "model $model cannot be compiled on this GPU; the lines above say why"
    : >"$models/$model/compiled/$stamp"
done
exec rescored "$@"
