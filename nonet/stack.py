"""What differs between the stacks: versions of transformers, peft and the GPTQ kernels. Knows nothing else of them.

Two families are meant: transformers 5 with peft 0.21 and GPTQModel, and transformers 4.42 with peft 0.12 and
auto-gptq (a V100's).
"""

from __future__ import annotations

from typing import Any


def quantised_model(path: str, device: str, dtype: str) -> Any:
    """The base at `path` with its packed weights and kernels that have gradients, through stock transformers.

    transformers 5 asks GPTQModel for the kernel: on a GPU "auto_trainable", any that autograd goes through; on a CPU
    "torch", since the one that "auto_trainable" takes there rounds activations. 4.42 has auto-gptq, of whose kernels
    autograd goes only through those without exllama.
    """
    import torch
    import transformers

    if _major(transformers.__version__) >= 5:
        kernel = transformers.GPTQConfig(bits=4, backend="torch" if device == "cpu" else "auto_trainable")
    else:
        kernel = transformers.GPTQConfig(bits=4, use_exllama=False)
    return transformers.AutoModelForCausalLM.from_pretrained(
        path,
        device_map={"": device},
        quantization_config=kernel,
        trust_remote_code=False,
        **dtype_argument(getattr(torch, dtype)),
    )


def dtype_argument(dtype: Any) -> dict[str, Any]:
    """The keyword by which from_pretrained takes the type of the weights."""
    import transformers

    return {"dtype" if _major(transformers.__version__) >= 5 else "torch_dtype": dtype}


def lora_config(*, rank: int, alpha: int, dropout: float, targets: tuple[str, ...]) -> Any:
    """A LoRA configuration of the installed peft, for plain and for packed linear modules."""
    import peft

    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return for_plain_modules(config)


def for_plain_modules(config: Any) -> Any:
    """`config` so that peft wraps plain linear modules before it asks which quantisation kernels are installed.

    That question imports GPTQModel (seconds, and an error without optimum). peft 0.12 asks no such thing.
    """
    from peft.tuners.lora import Linear
    from torch import nn

    if hasattr(config, "_register_custom_module"):
        config._register_custom_module({nn.Linear: Linear})
    return config


def _major(version: str) -> int:
    return int(version.partition(".")[0])
