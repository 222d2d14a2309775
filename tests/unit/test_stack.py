"""What can be said of the stacks without torch."""

from __future__ import annotations

from types import SimpleNamespace

from nonet.bases.stack import keep_gradients


def test_auto_gptqs_layers_are_kept_from_the_kernel_without_gradients() -> None:
    layer, other = SimpleNamespace(autogptq_cuda_available=True), SimpleNamespace()
    keep_gradients(SimpleNamespace(modules=lambda: [layer, other]))
    assert layer.autogptq_cuda_available is False
    assert vars(other) == {}
