"""LoRA banks: several adapters worn at once by one frozen base, every token by the adapter that it belongs to.

Knows linear modules (torch's, GPTQModel's and auto-gptq's quantised ones: whatever has inputs and outputs), the
adapters' weights and whose tokens are whose. Knows no loss, no optimizer and no files. What it computes for a token is
what peft computes with that token's adapter alone: `base(x) + B(A(dropout(x))) * alpha / rank` (Hu et al. 2021, LoRA),
A and B in float32 where the base computes in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nonet.adapters.dropout import Dropout
from nonet.adapters.lora_product import fuses, knows, lora_product
from nonet.adapters.recipe import Recipe

_PREFIX = "base_model.model."
"""What peft puts before the name of a module."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """What the adapters of a bank share: `rank`, `dropout` while they are trained, and the `targets`."""

    rank: int
    dropout: float
    targets: tuple[str, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> LoraShape:
        return cls(recipe.rank, recipe.dropout, recipe.targets)


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `start` to `stop` (exclusive), counted over all rows of an input, that belong to the adapter in `slot`.

    For dropout: they are the tokens `places` of a padded batch of `cells` tokens that the adapter has in this step
    (None: all of its first `stop - start`), so that the mask is the one that a training by itself would draw.
    """

    slot: int
    start: int
    stop: int
    cells: int | None = None
    places: Any = None

    @property
    def length(self) -> int:
        return self.stop - self.start


def target_modules(model: Any, targets: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each module of `model` that `targets` name, by name, in the model's order.

    A target names a module as a whole or by the end of its name, as in peft. Raises ValueError where none is found,
    or where one is not linear.
    """
    found = {}
    for name, module in model.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in targets):
            found[name] = _sizes(name, module)
    if not found:
        raise ValueError(f"the base has none of the target modules {sorted(targets)}; see training.targets")
    return found


def fresh_weights(modules: Mapping[str, tuple[int, int]], rank: int, seed: int) -> dict[str, Any]:
    """First values of an adapter, by peft's file names, drawn from `seed`: A uniform in ±1/sqrt(inputs), B zero.

    peft's own (Kaiming uniform with a = sqrt(5)), drawn by name, so that they depend neither on the device nor on how
    the base is loaded.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in sorted(modules, key=lambda name: f"{name}.lora_A"):
        inputs, outputs = modules[name]
        drawn = torch.rand((rank, inputs), generator=generator) * 2 - 1
        weights[file_name(name, "A")] = drawn / inputs**0.5
        weights[file_name(name, "B")] = torch.zeros((outputs, rank))
    return weights


def file_name(module: str, matrix: str) -> str:
    """peft's name for the matrix "A" or "B" of a module, in an adapter's file."""
    return f"{_PREFIX}{module}.lora_{matrix}.weight"


def parameter_name(module: str, matrix: str) -> str:
    """peft's name for the matrix "A" or "B" of a module while it is trained."""
    return f"{_PREFIX}{module}.lora_{matrix}.default.weight"


class LoraBank:
    """Adapters of one shape in `slots` places over `model`; made with all of them zero, taken on by `worn`.

    The matrices of each target module lie side by side: A [slots, rank, inputs], B [slots, outputs, rank]. While the
    bank is worn, a forward must stand in a `routed` block; outside of one, the base answers by itself. Raises
    ValueError where the base has none of the shape's targets.
    """

    def __init__(self, model: Any, shape: LoraShape, slots: int) -> None:
        import torch

        self.shape, self.slots = shape, slots
        self.modules = target_modules(model, shape.targets)
        self._model = model
        self._scales = [0.0] * slots
        self._route: Route | None = None
        self._dropouts: list[Dropout | None] = [None] * slots
        first = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
        self.device = first.device
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32

        def zeros(*sizes: int) -> Any:
            return torch.zeros((slots, *sizes), device=self.device, dtype=dtype, requires_grad=True)

        self._a = {name: zeros(shape.rank, inputs) for name, (inputs, _) in self.modules.items()}
        self._b = {name: zeros(outputs, shape.rank) for name, (_, outputs) in self.modules.items()}
        stacked = {(name, "A"): tensor for name, tensor in self._a.items()}
        stacked |= {(name, "B"): tensor for name, tensor in self._b.items()}
        self._stacked = dict(sorted(stacked.items()))
        self._windows = [{at: tensor.detach()[slot] for at, tensor in self._stacked.items()} for slot in range(slots)]

    @contextmanager
    def worn(self) -> Iterator[LoraBank]:
        """The base wearing the bank, and as it was before afterwards: nothing of it is replaced."""
        modules = {name: self._model.get_submodule(name) for name in self.modules}
        hooks = [module.register_forward_hook(self._hook(name)) for name, module in modules.items()]
        fused = [module for module in modules.values() if knows(module)]
        for name, module in modules.items():
            if module in fused:
                module.forward = self._fused(name, module)
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()
            for module in fused:
                del module.forward

    @contextmanager
    def routed(self, spans: Sequence[Span]) -> Iterator[None]:
        """For this block, tokens belong to adapters as `spans` say, which cover an input from its first token to
        its last. The backward pass belongs in the block where activations are computed again in it. Raises ValueError
        for spans that leave a gap, overlap, or name no slot.
        """
        self._route, before = Route(tuple(spans), self.slots), self._route
        try:
            yield
        finally:
            self._route = before

    def fill(self, slot: int, weights: Mapping[str, Any], *, scale: float) -> None:
        """Put an adapter into `slot`: its weights by peft's file names, and its scale alpha / rank.

        An adapter of lower rank than the bank's, or with fewer targets, computes the same here as alone. Raises
        ValueError for weights that have no place.
        """
        import torch

        homes = {file_name(*at): window for at, window in self._windows[slot].items()}
        unknown = sorted(set(weights) - set(homes))
        if unknown:
            raise ValueError(f"{unknown[0]} belongs to none of the modules that this bank adapts")
        with torch.no_grad():
            for name, home in homes.items():
                home.zero_()
                given = weights.get(name)
                if given is None:
                    continue
                if any(have > room for have, room in zip(given.shape, home.shape, strict=True)):
                    raise ValueError(f"{name} is {tuple(given.shape)}, this bank has room for {tuple(home.shape)}")
                home[: given.shape[0], : given.shape[1]].copy_(given)
        self._scales[slot], self._dropouts[slot] = scale, None

    def weights(self, slot: int) -> dict[str, Any]:
        """The adapter in `slot` by peft's file names: float32 tensors on the CPU, in order of name."""
        windows = self._windows[slot].items()
        return {file_name(*at): window.float().cpu().clone() for at, window in windows}

    def parameters(self, slot: int) -> dict[str, Any]:
        """What an optimizer of the adapter in `slot` works on, by peft's names for parameters in training: tensors
        that share their memory with the bank, the same at each call, and have the slot's gradient of now as `grad`.
        """
        self.bind_gradients()
        return {parameter_name(*at): window for at, window in self._windows[slot].items()}

    def bind_gradients(self) -> None:
        """Give the parameters of every slot its part of the gradients of now as their `grad`; None where is none."""
        for at, stacked in self._stacked.items():
            parts = [None] * self.slots if stacked.grad is None else stacked.grad.unbind()
            for windows, part in zip(self._windows, parts, strict=True):
                windows[at].grad = part

    def clear_gradients(self) -> None:
        """Forget the gradients of all slots."""
        for stacked in self._stacked.values():
            stacked.grad = None
        self.bind_gradients()

    def end_dropout(self, slot: int) -> None:
        """From now on the adapter in `slot` computes as it does when it answers."""
        self._dropouts[slot] = None

    def seed_dropout(self, slot: int, seed: int) -> None:
        """From now on the masks of the adapter in `slot` are those that torch draws after `torch.manual_seed(seed)`,
        one module after the other, whatever other slots draw; a module that is computed again meets its mask again.
        """
        self._dropouts[slot] = Dropout(self.shape.dropout, seed, self.device)

    def _hook(self, name: str) -> Callable[[Any, tuple[Any, ...], Any], Any]:
        def add(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
            if self._route is None or self._fuses(module, inputs[0]):
                return output
            return self._added(self._route, name, inputs[0], output)

        return add

    def _fuses(self, module: Any, x: Any) -> bool:
        """Whether base and adapters are one product (see lora_product): on a GPU in 16 bits, without dropout."""
        route = self._route
        dropping = route is not None and any(self._dropouts[span.slot] is not None for span in route.spans)
        return route is not None and not dropping and fuses(module, x)

    def _fused(self, name: str, module: Any) -> Callable[[Any], Any]:
        alone = module.forward

        def forward(x: Any) -> Any:
            if not self._fuses(module, x):
                return alone(x)
            assert self._route is not None
            select = self._route.select(self._scales, self.shape.rank, x)
            return lora_product(module, x, self._a[name], self._b[name], select)

        return forward

    def _added(self, route: Route, name: str, x: Any, output: Any) -> Any:
        flat = x.reshape(-1, x.shape[-1]).to(self._a[name].dtype)
        if flat.shape[0] != route.length:
            raise ValueError(f"the input has {flat.shape[0]} tokens, its spans cover {route.length}")
        a, b = self._a[name], self._b[name]
        dropping = any(self._dropouts[span.slot] is not None for span in route.spans)
        if route.alike and not dropping:
            delta = self._batched(route, flat, a, b)
        else:
            delta = self._one_by_one(route, name, flat, a.unbind(), b.unbind())
        return (output + delta.view(output.shape)).to(output.dtype)

    def _batched(self, route: Route, flat: Any, a: Any, b: Any) -> Any:
        """Spans of one length, each of another slot: two multiplications for all of them."""
        import torch

        slots = [span.slot for span in route.spans]
        if slots != list(range(self.slots)):
            a, b = a[slots], b[slots]
        scales = torch.tensor([self._scales[slot] for slot in slots], device=flat.device, dtype=flat.dtype)
        rows = flat.view(len(slots), -1, flat.shape[-1])
        return torch.bmm(torch.bmm(rows, a.mT), b.mT) * scales[:, None, None]

    def _one_by_one(self, route: Route, name: str, flat: Any, a: Sequence[Any], b: Sequence[Any]) -> Any:
        import torch
        from torch.nn.functional import linear

        deltas = []
        for span in route.spans:
            slot, rows = span.slot, flat[span.start : span.stop]
            dropout = self._dropouts[slot]
            if dropout is not None:
                rows = rows * dropout.mask(name, rows, span.cells, span.places)
            deltas.append(linear(linear(rows, a[slot]), b[slot]) * self._scales[slot])
        return torch.cat(deltas)


class Route:
    """Segments, checked: they follow one another from token 0 on. `alike` where they are of one length, each of another
    slot. Raises ValueError.
    """

    def __init__(self, spans: tuple[Span, ...], slots: int) -> None:
        if not spans or spans[0].start != 0:
            raise ValueError("spans begin with token 0")
        for before, after in pairwise(spans):
            if before.stop != after.start:
                raise ValueError(f"a span ends at token {before.stop}, the next begins at {after.start}")
        for span in spans:
            if not 0 <= span.slot < slots or span.length < 1:
                raise ValueError(f"{span} is empty or names none of the {slots} slots")
        self.spans = spans
        self.length = spans[-1].stop
        self._selects: dict[Any, Any] = {}
        whose = [span.slot for span in spans]
        self.alike = len({span.length for span in spans}) == 1 and len(set(whose)) == len(whose)

    def select(self, scales: Sequence[float], rank: int, x: Any) -> Any:
        """[tokens, slots * rank] in the numbers of `x`: a token's own adapter's scale in its columns, 0 elsewhere."""
        import torch

        if x[..., 0].numel() != self.length:
            raise ValueError(f"the input has {x[..., 0].numel()} tokens, its spans cover {self.length}")
        if x.dtype not in self._selects:
            table = torch.diag(torch.tensor(scales)).repeat_interleave(rank, dim=1).to(x.device, x.dtype)
            lengths = torch.tensor([span.length for span in self.spans])
            slots = torch.tensor([span.slot for span in self.spans]).repeat_interleave(lengths)
            self._selects[x.dtype] = table[slots.to(x.device)]
        return self._selects[x.dtype]


def _sizes(name: str, module: Any) -> tuple[int, int]:
    for inputs, outputs in (("in_features", "out_features"), ("infeatures", "outfeatures")):
        if hasattr(module, inputs) and hasattr(module, outputs):
            return int(getattr(module, inputs)), int(getattr(module, outputs))
    raise ValueError(f"the target module {name} is not linear but {type(module).__name__}; see training.targets")
