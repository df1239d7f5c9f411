"""fastembed for Rust, a crate of its own below this folder. Arguments: the model's folder, a graph in it, threads (which
it chooses itself). Built on demand:

    cargo build --release --manifest-path tests/bench/peers/fastembed_rs/Cargo.toml
"""

import json
import os
import sys
from pathlib import Path

here = Path(__file__).parent / "fastembed_rs"
binary = here / "target" / "release" / "fastembed-peer"
if binary.is_file():
    import onnxruntime

    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    os.execve(binary, [str(binary), *sys.argv[1:]], os.environ | {"ORT_DYLIB_PATH": str(library)})
print(json.dumps({"missing": f"not built: cargo build --release --manifest-path {here / 'Cargo.toml'}"}))
