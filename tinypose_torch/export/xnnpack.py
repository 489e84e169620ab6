"""float16 weights in the files that ExecuTorch gives to XNNPACK, which halves them.

Made for executorch 1.5.1: it replaces a method of the backend's serialiser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def half_weights() -> Iterator[None]:
    """While open, float16 convolutions keep their weights in float16, where ExecuTorch would widen them to float32."""
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor

    define = NodeVisitor.define_tensor

    def define_as_it_is(self: Any, *arguments: Any, **options: Any) -> None:
        options.pop("force_fp32", None)
        define(self, *arguments, **options)

    NodeVisitor.define_tensor = define_as_it_is
    try:
        yield
    finally:
        NodeVisitor.define_tensor = define
