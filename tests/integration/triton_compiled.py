"""Run by the Python of a stack with Triton: compiles Nonet's kernels for GPUs that need not be here; prints JSON, the
bytes of machine code by kernel.
"""

from __future__ import annotations

import json
from typing import Any

from nonet.bases import triton_dequantise, triton_layers

CAPABILITY = 90
"""Of an H100 and an H200."""
DEQUANTISE = {
    "out_ptr": "*fp16",
    "qweight_ptr": "*i32",
    "qzeros_ptr": "*i32",
    "scales_ptr": "*fp16",
    "g_idx_ptr": "*i32",
    "n_words": "i32",
    "n_out": "i32",
    "BITS": 4,
    "GROUP": 128,
    "WORDS": triton_dequantise.WORDS,
    "COLUMNS": triton_dequantise.COLUMNS,
}
ROWS = {"x_ptr": "*fp16", "w_ptr": "*fp16"}
LAYERS: dict[str, dict[str, Any]] = {
    "norm": ROWS | {"y_ptr": "*fp16", "inverse_ptr": "*fp32", "width": "i32", "epsilon": "fp32", "WIDTH": 8192},
    "norm_gradient": {"dy_ptr": "*fp16"}
    | ROWS
    | {"inverse_ptr": "*fp32", "dx_ptr": "*fp16", "width": "i32", "WIDTH": 8192},
    "gated": dict.fromkeys(("gate_ptr", "up_ptr", "y_ptr"), "*fp16") | {"count": "i32", "BLOCK": 1024},
    "gated_gradient": dict.fromkeys(("dy_ptr", "gate_ptr", "up_ptr", "dgate_ptr", "dup_ptr"), "*fp16")
    | {"count": "i32", "BLOCK": 1024},
}


def compiled(kernel: Any, parameters: dict[str, Any]) -> int:
    """Bytes of machine code of `kernel`; `parameters` are types, or values of constants."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: kind if isinstance(kind, str) else "constexpr" for name, kind in parameters.items()}
    constants = {(at,): value for at, value in enumerate(parameters.values()) if not isinstance(value, str)}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    return len(triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32)).asm["cubin"])


def main() -> None:
    dequantise, _ = triton_dequantise._kernel()
    layers = triton_layers._kernels()
    sizes = {
        "in order": compiled(dequantise, DEQUANTISE),
        "by g_idx": compiled(dequantise, DEQUANTISE | {"GROUP": 0, "out_ptr": "*bf16"}),
    }
    sizes |= {name: compiled(getattr(layers, name), parameters) for name, parameters in LAYERS.items()}
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
