"""Writes a function in LLVM's intermediate representation, as text.

What it is: https://llvm.org/docs/LangRef.html. Only what the loops over codes need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Body:
    """A function's instructions; each result gets a name of its own."""

    def __init__(self, signature: str) -> None:
        self._lines = [f"define {signature} {{"]
        self._names = 0

    def __call__(self, instruction: str, name: str | None = None) -> str:
        """Adds an instruction with a result; the result's name."""
        self._names += 1
        name = name or f"%v{self._names}"
        self._lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """Adds one without a result."""
        self._lines.append(f"  {instruction}")

    def label(self, name: str) -> None:
        """Begins a block."""
        self._lines.append(f"{name}:")

    def end(self) -> str:
        """The function's text."""
        return "\n".join([*self._lines, "}"])

    def at(self, kind: str, base: str, index: str | int) -> str:
        """The address of `base[index]`."""
        return self(f"getelementptr {kind}, ptr {base}, i64 {index}")

    def load(self, kind: str, base: str, index: str | int) -> str:
        """`base[index]`, wherever it lies."""
        return self(f"load {kind}, ptr {self.at(kind, base, index)}, align 1")

    def bytes(self, base: str, offset: str | int, kind: str = "<64 x i8>") -> str:
        """What stands `offset` bytes after `base`."""
        return self(f"load {kind}, ptr {self.at('i8', base, offset)}, align 1")

    def splat(self, value: str, count: int = 16, kind: str = "i32") -> str:
        """`count` times a value."""
        vector = f"<{count} x {kind}>"
        one = self(f"insertelement {vector} poison, {kind} {value}, i64 0")
        return self(f"shufflevector {vector} {one}, {vector} poison, <{count} x i32> zeroinitializer")

    def shuffle(self, left: str, right: str, lanes: Iterable[int], count: int = 16) -> str:
        """Chosen ones of two times `count` i32, side by side."""
        vector = f"<{count} x i32>"
        chosen = [f"i32 {lane}" for lane in lanes]
        mask = f"<{len(chosen)} x i32> <{', '.join(chosen)}>"
        return self(f"shufflevector {vector} {left}, {vector} {right}, {mask}")

    def four_totals(self, sums: Sequence[str]) -> str:
        """<4 x i32>: of four times 16 i32, each together."""
        groups = range(0, 16, 4)
        ones = [group + lane + side for group in groups for lane in (0, 1) for side in (0, 16)]
        first, second = (
            self._added(left, right, ones, [lane + 2 for lane in ones]) for left, right in (sums[:2], sums[2:])
        )
        pairs = [group + lane + side for group in groups for side in (0, 16) for lane in (0, 1)]
        of_group = self._added(first, second, pairs, [lane + 2 for lane in pairs])
        of_half = self._added(of_group, of_group, range(8), range(8, 16))
        return self._added(of_half, of_half, range(4), range(4, 8), count=8)

    def _added(self, left: str, right: str, lanes: Sequence[int], others: Sequence[int], count: int = 16) -> str:
        """Chosen ones of two vectors plus others of them."""
        chosen = [self.shuffle(left, right, some, count) for some in (lanes, others)]
        return self(f"add <{len(lanes)} x i32> {chosen[0]}, {chosen[1]}")

    def dot(self, sums: str, unsigned: str, signed: str, name: str | None = None) -> str:
        """16 sums plus four products each."""
        vector = "<64 x i8>"
        return self(
            f"call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> {sums}, {vector} {unsigned}, {vector} {signed})",
            name,
        )

    def prefetch(self, base: str, offset: str, level: int) -> None:
        """Asks for a cache line; `level` 3 is the nearest cache."""
        self.do(f"call void @llvm.prefetch.p0(ptr {self.at('i8', base, offset)}, i32 0, i32 {level}, i32 1)")

    def compress(self, values: str, base: str, index: str, chosen: str) -> None:
        """Writes the chosen ones of 16 i32 side by side to `base[index]`, and zeros up to 16."""
        # Storing through a mask takes the processor ten times as long.
        vector = "<16 x i32>"
        packed = self(
            f"call {vector} @llvm.x86.avx512.mask.compress.v16i32({vector} {values}, {vector} zeroinitializer,"
            f" <16 x i1> {chosen})"
        )
        self.do(f"store {vector} {packed}, ptr {self.at('i32', base, index)}, align 1")

    def total(self, sums: str) -> str:
        """All 16 together."""
        return self(f"call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> {sums})")
