"""fastembed for Rust, a crate of its own in the repository's tests/bench/peers/fastembed_rs, whose program is looked for on
PATH. Arguments: the model's folder, a graph in it, threads (which it chooses itself). Installed on demand:

    cargo install --path tests/bench/peers/fastembed_rs
"""

import json
import os
import shutil
import sys
from pathlib import Path

binary = shutil.which("fastembed-peer")
if binary:
    import onnxruntime

    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    os.execve(binary, [binary, *sys.argv[1:]], os.environ | {"ORT_DYLIB_PATH": str(library)})
print(json.dumps({"missing": "fastembed-peer is not on PATH: cargo install --path tests/bench/peers/fastembed_rs"}))
