"""What differs between the stacks: versions of transformers, peft and the GPTQ kernels. Knows nothing else of them.

Two families are meant: transformers 5 with peft 0.21 and GPTQModel, and transformers 4.42 with peft 0.12 and
auto-gptq 0.7.1 (a V100's). What the second reads otherwise in a base's files is in `nonet.bases.stack_files`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nonet.bases.packed_linear import packed_linear_type
from nonet.bases.stack_files import files_of_transformers_4

_INERT = {"peft_version", "qalora_group_size"}
"""Fields of an adapter's configuration that change nothing by themselves, whatever they hold."""


def is_volta() -> bool:
    """Whether this is the family of the V100, which keeps a base packed on a CPU too: there it is only tested."""
    return int(version("transformers").partition(".")[0]) < 5


def versions() -> dict[str, str]:
    """The versions of what computes, by package."""
    found = {}
    for name in ("torch", "transformers", "peft", "auto-gptq" if is_volta() else "gptqmodel"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def readable(path: str) -> Iterator[str]:
    """The base at `path` as a folder that this stack's transformers reads; raises ValueError where it cannot be."""
    if is_volta():
        with files_of_transformers_4(path) as folder:
            yield folder
    else:
        yield path


def quantised_model(path: str, device: str, dtype: str, method: str = "gptq") -> Any:
    """The base at `path`, quantised by `method` (gptq or awq), with its packed weights and kernels that have gradients,
    through stock transformers.

    transformers 5 asks GPTQModel for the kernel: on a GPU "auto_trainable", any that autograd goes through; on a CPU
    "torch", since the one that "auto_trainable" takes there rounds activations. 4.42 has auto-gptq, of whose kernels
    autograd goes only through those without exllama, and nothing for AWQ: raises ValueError there.
    """
    import torch
    import transformers

    if method == "awq":
        kernel = _awq_kernel(transformers, device)
    elif is_volta():
        kernel = transformers.GPTQConfig(bits=4, use_exllama=False)
    else:
        kernel = transformers.GPTQConfig(bits=4, backend="torch" if device == "cpu" else "auto_trainable")
    with readable(path) as folder:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            device_map={"": device},
            quantization_config=kernel,
            trust_remote_code=False,
            **dtype_argument(getattr(torch, dtype)),
        )
    if is_volta():
        keep_gradients(model)
    return model


def _awq_kernel(transformers: Any, device: str) -> Any:
    if is_volta():
        raise ValueError("this stack has no AWQ kernels: use the stack gpu, or the base's GPTQ quantisation")
    return transformers.AwqConfig(backend="torch_awq" if device == "cpu" else "auto_trainable")


def dtype_argument(dtype: Any) -> dict[str, Any]:
    """The keyword by which from_pretrained takes the type of the weights."""
    return {"torch_dtype" if is_volta() else "dtype": dtype}


def linear_layers(model: Any) -> list[str]:
    """Names of the classes of a model's linear layers, wrapped by peft or not; without LoRA's own and the head."""
    from torch import nn

    head = model.get_output_embeddings()
    return sorted(
        {
            f"{type(module).__module__}.{type(module).__qualname__}"
            for name, module in model.named_modules()
            if (isinstance(module, nn.Linear) or hasattr(module, "qweight"))
            and module is not head
            and ".lora_" not in name
        }
    )


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


def read_lora_config(fields: Mapping[str, Any]) -> Any:
    """The LoRA configuration that an adapter's `fields` say, for inference; raises ValueError.

    An adapter may come from a newer peft: fields that the installed one does not know are left out where they are
    unset.
    """
    import peft

    known = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    beyond = sorted(name for name, value in fields.items() if name not in known | _INERT and value)
    if beyond:
        raise ValueError(f"peft {version('peft')} does not know {', '.join(beyond)}; use a stack with a newer peft")
    told = {name: value for name, value in fields.items() if name in known}
    try:
        config = peft.PeftConfig.from_peft_type(**{**told, "inference_mode": True})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error}; train the adapter again") from None
    return for_plain_modules(config)


def for_plain_modules(config: Any) -> Any:
    """`config` so that peft wraps plain and packed linears before it asks which quantisation kernels are installed.

    That question imports GPTQModel (seconds, and an error without optimum). peft 0.12 asks no such thing.
    """
    from peft.tuners.lora import Linear
    from torch import nn

    if hasattr(config, "_register_custom_module"):
        config._register_custom_module({nn.Linear: Linear, packed_linear_type(): Linear})
    return config


def unwrap(wrapped: Any) -> None:
    """Take the adapter off the base, which is then as it was before peft wrapped it.

    peft 0.12's own way back fails on auto-gptq's layers: it looks for their `weight`.
    """
    if not is_volta():
        wrapped.unload()
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = wrapped.get_base_model()
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())
    del model.peft_config


def keep_gradients(model: Any) -> None:
    """Keep auto-gptq's layers from the CUDA kernel that they take for fewer than 128 rows.

    It leaves nothing for autograd: a short prompt's gradient would end, without a word, at the last layer. What is
    left is to unpack the weights and multiply (auto-gptq 0.7.1, auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py).
    """
    for module in model.modules():
        if hasattr(module, "autogptq_cuda_available"):
            module.autogptq_cuda_available = False
