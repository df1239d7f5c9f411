"""Lets Intel's MKL, which PyTorch multiplies matrices with, use the instructions that an AMD processor has.

MKL asks whether the processor is Intel's and takes a path of half the speed or less where it is not. Its answer can be
given for it by a library that is loaded first; without this a comparison on AMD would be with a PyTorch whose owner has
not heard of that. Needs a C compiler; without one, the name of the peer says that it runs on the slow path.
"""

import os
import shutil
import subprocess
import sys
import tempfile

FUNCTION = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
MARK = "RESCORED_BENCH_MKL"


def is_amd():
    try:
        with open("/proc/cpuinfo") as cpu:
            return any(line.startswith("vendor_id") and "AMD" in line for line in cpu)
    except OSError:
        return False


def unchained():
    """Starts this process anew with that library, once and where it is needed. To be called before PyTorch is imported."""
    compiler = shutil.which("cc")
    if not is_amd() or MARK in os.environ or not compiler:
        return
    folder = tempfile.mkdtemp(prefix="rescored-bench-mkl-")
    library = os.path.join(folder, "intel.so")
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=FUNCTION.encode(), capture_output=True
    )
    if made.returncode:
        return shutil.rmtree(folder)
    first = [library, *filter(None, [os.environ.get("LD_PRELOAD")])]
    os.execve(sys.executable, sys.orig_argv, {**os.environ, MARK: folder, "LD_PRELOAD": ":".join(first)})


def note():
    """What a peer's name says of it; the library is loaded by then, so its file goes."""
    folder = os.environ.get(MARK)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        return ", MKL's fast path on AMD"
    return ", MKL's slow path on AMD (no C compiler)" if is_amd() else ""
