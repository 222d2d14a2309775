"""A GPTQ base for vLLM on a CPU without AVX-512, where vLLM's build has no int4 kernel: dequantised as it is loaded.

Knows vLLM's registry of model loaders. The weights are those that the packed ones stand for, exactly; nothing is
written to disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nonet.bases.base import base_config
from nonet.bases.weights import plain_weights, quantisation

LOAD_FORMAT = "nonet_plain"


def int4_runs_here() -> bool:
    """Whether this CPU's build of vLLM can multiply by packed int4 weights."""
    import torch
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    return hasattr(torch.ops._C, "cpu_gemm_wna16")


def plain_settings() -> dict[str, Any]:
    """Engine arguments that load a GPTQ base dequantised, in float32."""
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    class PlainLoader(BaseModelLoader):
        """Gives vLLM's model the dequantised weights under their plain names."""

        def download_model(self, model_config: Any) -> None:
            """Nothing to fetch: a base is a folder."""

        def load_weights(self, model: Any, model_config: Any) -> None:
            path = model_config.model
            weights = plain_weights(Path(path), quantisation(base_config(path)))
            model.load_weights(iter(weights.items()))

    register_model_loader(LOAD_FORMAT)(PlainLoader)
    return {"load_format": LOAD_FORMAT, "hf_overrides": {"quantization_config": None}, "dtype": "float32"}
