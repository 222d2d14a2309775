"""What a compute process keeps loaded between orders: one base, or one vLLM engine, never both. Knows when it fits."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nonet.bases.base import Base, base_stamp, load_base, load_tokenizer
from nonet.compute.asks import Asks
from nonet.compute.orders import InferOrder
from nonet.engines import Engine


class Warm:
    """The thing loaded last, with what it was loaded for."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._kept: Any = None
        self.heard: set[tuple[str, str]] = set()
        """Adapters (name, path) whose canary has been asked of what is kept."""
        self.asks = Asks(load_tokenizer)

    def base(self, path: str, device: str, dtype: str | None = None) -> tuple[Base, bool]:
        """The base, and whether it was here already."""
        return self._get(("base", path, device, dtype, base_stamp(path)), lambda: load_base(path, device, dtype=dtype))

    def vllm(self, order: InferOrder) -> tuple[Engine, bool]:
        """The vLLM engine for the base and the sizes of `order`, and whether it was here already."""
        from nonet.engines.vllm import Sizes, VllmEngine

        texts = order.prompt.answer == "text"
        sizes = Sizes(order.max_length + order.max_tokens, order.max_loras, order.rank, texts)
        key = ("vllm", order.base, order.device, base_stamp(order.base), sizes, order.threads, order.dtype)
        return self._get(key, lambda: VllmEngine(order.base, order.device, sizes, order.threads, order.dtype))

    def tokenizer(self, path: str) -> Any:
        """The tokenizer of the base in the folder `path`; loading one takes a second."""
        return _tokenizer(path, base_stamp(path))

    def drop(self) -> None:
        """Give back the memory of what is kept."""
        kept, self._kept, self._key = self._kept, None, None
        self.heard.clear()
        if kept is not None and hasattr(kept, "close"):
            kept.close()
        del kept
        release_memory()

    def _get(self, key: tuple[Any, ...], load: Callable[[], Any]) -> tuple[Any, bool]:
        if self._key == key:
            return self._kept, True
        self.drop()
        self._kept = load()
        self._key = key
        return self._kept, False


@lru_cache(maxsize=1)
def _tokenizer(path: str, _stamp: tuple[int, int]) -> Any:
    return load_tokenizer(path)


def release_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
