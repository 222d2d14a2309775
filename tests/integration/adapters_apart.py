"""How far two adapters lie apart. Run by the Python of a stack.

adapters_apart.py ONE OTHER  → the relative difference of all weights together, its median over the matrices, and how
                               many of them there are
Prints one line of JSON last.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import median

from nonet.engines.adapter_files import WEIGHTS


def apart(one: Path, other: Path) -> dict[str, float]:
    from safetensors.torch import load_file

    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    assert first.keys() == second.keys()
    differences = [float((first[name] - second[name]).norm()) for name in first]
    norms = [float(weight.norm()) for weight in second.values()]
    return {
        "relative": math.hypot(*differences) / math.hypot(*norms),
        "median": median(apart / norm for apart, norm in zip(differences, norms, strict=True)),
        "matrices": len(first),
    }


if __name__ == "__main__":
    print("\n" + json.dumps(apart(Path(sys.argv[1]), Path(sys.argv[2]))))
