"""Which kernel a machine gets."""

from __future__ import annotations

import structlog

from pipeline.errors import UsageError
from pipeline.gallery.index.kernels import Float32Kernel, Kernel, KernelName

log = structlog.get_logger(__name__)


def choose(name: KernelName, dimension: int) -> Kernel:
    """The kernel of that name; `auto` is `int8` where that can be, else `float32`. Of 8-bit kernels the compiled one
    is quicker wherever it runs (`docs/decisions/011`). Raises `UsageError` if the machine lacks what a kernel needs."""
    if name == "float32":
        return Float32Kernel()
    if name == "gpu":
        from pipeline.gallery.index.gpu import GpuKernel

        return GpuKernel()
    missing = []
    for kernel in (_compiled, _numkong):
        try:
            return kernel(dimension)
        except (ImportError, UsageError) as error:
            missing.append(str(error))
    if name == "int8":
        raise UsageError(f"searching with 8-bit codes: {'; '.join(missing)}; choose the kernel float32")
    log.warning("index_without_codes", missing=missing)
    return Float32Kernel()


def _compiled(dimension: int) -> Kernel:
    from pipeline.gallery.index.compiled import CompiledKernel

    return CompiledKernel(dimension)


def _numkong(dimension: int) -> Kernel:
    from pipeline.gallery.index.int8 import NumKongKernel

    return NumKongKernel(dimension)
