"""What stock transformers, GPTQModel and peft say, to compare Nonet with. Run by the Python of the stack `cpu`;
`loss` also by that of `volta-cpu`.

stock_reference.py logprobs BASE ADAPTER ROWS PROMPT  → log-probabilities by question id, a plain loop over whole logits
stock_reference.py loss BASE                          → Nonet's loss and gradients beside the ordinary ones
stock_reference.py weights BASE                       → Nonet's dequantised weights beside GPTQModel's
stock_reference.py prompts BASE EXAMPLES PROMPT N     → the ends of prompts that were cut at N tokens
Prints one line of JSON last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def stock_model(base: str) -> Any:
    """The base by stock transformers over GPTQModel's kernels, its scales widened so that nothing rounds to float16."""
    import torch
    from transformers import AutoModelForCausalLM, GPTQConfig

    torch.set_num_threads(1)
    kernel = GPTQConfig(bits=4, backend="torch")
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=kernel, dtype=torch.float32, device_map={"": "cpu"}
    )
    for module in packed(model).values():
        module.scales.data = module.scales.data.float()
    return model.eval()


def packed(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "qweight")}


def logprobs(base: str, adapter: str, rows: str, prompt: str) -> dict[str, list[float]]:
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer

    told = json.loads(prompt)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(stock_model(base), adapter).eval()
    found = {}
    for line in Path(rows).read_text("utf-8").splitlines():
        row = json.loads(line)
        for index, question in enumerate(row["questions"]):
            letters = "ABCDEFGHIJ"[: len(question["options"])]
            options = "\n".join(f"{a}. {o}" for a, o in zip(letters, question["options"], strict=True))
            text = f"题目:{row['problem']}\n问题:\n{question['question']}\n选项:\n{options}"
            chat = [{"role": "system", "content": told["system"]}, {"role": "user", "content": text}]
            written = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + told["prefix"]
            ids = tokenizer(written, return_tensors="pt", add_special_tokens=False).input_ids
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, -1]
            places = [tokenizer.convert_tokens_to_ids(letter) for letter in letters]
            found[f"{row['id']}#{index}"] = torch.log_softmax(logits[places], 0).tolist()
    return found


def loss(base: str) -> dict[str, float]:
    """Largest differences of loss and gradients on batches of one and of three, padded; Nonet's with activations
    computed again in the backward pass, as on a GPU.
    """
    import torch

    from nonet.adapters.recipe import Recipe
    from nonet.adapters.training import Lesson, answer_loss, fresh_adapter, recompute_activations
    from nonet.bases.base import load_base

    torch.set_num_threads(1)
    wrapped = fresh_adapter(load_base(base, "cpu").model, Recipe())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    lessons = [
        Lesson(tuple(torch.randint(300, 1000, (length,), generator=generator).tolist()), reply)
        for length, reply in ((40, (36,)), (9, (37, 38, 39)), (70, (40,)))
    ]
    worst = {"loss": 0.0, "gradient": 0.0}
    for batch in (lessons[:1], lessons):
        recompute_activations(wrapped.get_base_model())
        own, own_gradients = measured(wrapped, lambda batch=batch: answer_loss(wrapped, batch, "cpu"))
        wrapped.get_base_model().gradient_checkpointing_disable()
        plain, plain_gradients = measured(wrapped, lambda batch=batch: ordinary_loss(wrapped, batch))
        worst["loss"] = max(worst["loss"], abs(own - plain))
        for name, gradient in plain_gradients.items():
            apart = (gradient - own_gradients[name]).norm() / gradient.norm()
            worst["gradient"] = max(worst["gradient"], float(apart))
    return worst


def measured(wrapped: Any, compute: Any) -> tuple[float, dict[str, Any]]:
    wrapped.zero_grad()
    value = compute()
    value.backward()
    return float(value), {n: w.grad.clone() for n, w in wrapped.named_parameters() if w.grad is not None}


def ordinary_loss(wrapped: Any, lessons: Any) -> Any:
    """transformers' own loss: labels, -100 where the prompt or the padding stands."""
    import torch

    rows = [[*lesson.ids, *lesson.reply] for lesson in lessons]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    for at, lesson in enumerate(lessons):
        start = len(lesson.ids)
        labels[at, start : start + len(lesson.reply)] = torch.tensor(lesson.reply)
    return wrapped(input_ids=ids, attention_mask=mask, labels=labels).loss


def weights(base: str) -> dict[str, float]:
    """Largest difference of any weight, exact and after rounding to float16 as GPTQModel computes."""
    from nonet.bases.base import base_config
    from nonet.bases.weights import plain_weights, quantisation

    own = plain_weights(Path(base), quantisation(base_config(base)))
    worst = {"modules": 0.0, "exact": 0.0, "rounded": 0.0}
    for name, module in packed(stock_model(base)).items():
        mine = own[f"{name}.weight"]
        worst["exact"] = max(worst["exact"], float((module.dequantize_weight().t() - mine).abs().max()))
        module.scales.data = module.scales.data.half()
        theirs = module.dequantize_weight().t()
        worst["rounded"] = max(worst["rounded"], float((theirs - mine.to(theirs.dtype)).abs().max()))
        worst["modules"] += 1
    return worst


def prompts(base: str, examples: str, prompt: str, length: str) -> list[dict[str, Any]]:
    from nonet.bases.base import load_tokenizer
    from nonet.questions.mix import read_examples
    from nonet.questions.prompt import Prompt
    from nonet.questions.tokens import prompt_ids

    tokenizer = load_tokenizer(base)
    told = []
    for example in read_examples(Path(examples)):
        encoded = prompt_ids(
            tokenizer,
            Prompt.from_json(json.loads(prompt)),
            example.stem,
            example.question,
            example.options,
            int(length),
        )
        told.append({"length": len(encoded.ids), "cut": encoded.cut, "text": tokenizer.decode(list(encoded.ids))})
    return told


if __name__ == "__main__":
    ways: dict[str, Callable[..., object]]
    ways = {"logprobs": logprobs, "loss": loss, "weights": weights, "prompts": prompts}
    print("\n" + json.dumps(ways[sys.argv[1]](*sys.argv[2:])))
