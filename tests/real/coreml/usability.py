"""ONNX Runtime's own CoreML usability checker over written graphs: one partition, every node in it.

Reads paths of graphs, one a line, and answers each with one line as soon as it is read, so that its caller may keep one file
on the disk; exit 1 when a graph would be split. Needs the PyPI packages onnx and onnxruntime.
"""

import pathlib
import sys

import onnx
from onnxruntime.tools.mobile_helpers import usability_checker as checker
from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo

LIST = "coreml_supported_mlprogram_ops.md"


def check(path: pathlib.Path) -> tuple[str, bool]:
    model = ModelProtoWithShapeInfo(path).model_with_shape_info
    dynamic, _ = checker.check_shapes(model.graph)
    info = checker.check_coreml_partitions(model, True, LIST)
    sizes = [dim.dim_value for value in model.graph.value_info for dim in value.type.tensor_type.shape.dim]
    sizes += [dim for tensor in model.graph.initializer for dim in tensor.dims]
    faults = [
        (bool(dynamic), "inputs of no fixed shape"),
        (info.num_partitions != 1, "more than one partition"),
        (info.num_supported_nodes != info.num_nodes, f"unsupported: {sorted(info.unsupported_ops)}"),
        (bool(info.ops_with_unsupported_rank), "a rank over 5"),
        (max(sizes) > 16384, "a dimension over 16384"),
        (any(opset.version > 20 for opset in model.opset_import), "an operator set that the builders do not know"),
    ]
    found = [what for wrong, what in faults if wrong]
    found_text = f"{info.num_partitions} partitions, {info.num_supported_nodes}/{info.num_nodes} nodes"
    return "; ".join([found_text, *found]), not found


def main() -> int:
    good = True
    for line in sys.stdin:
        line_of, fine = check(pathlib.Path(line.strip()).resolve())
        good = good and fine
        print(line_of, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    # The checker's own rule says no to what it should say no to.
    node = onnx.helper.make_node("Trilu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [], [])
    assert not checker._SupportedOpsChecker(pathlib.Path(checker.__file__).parent / LIST).is_op_supported(graph.node[0])
    sys.exit(main())
