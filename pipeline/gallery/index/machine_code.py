"""Loops over 8-bit and 4-bit codes in the processor's own instructions (AVX-512 VNNI), written as LLVM's intermediate
representation and compiled when first needed, in a tenth of a second.

`vpdpbusd` multiplies 64 unsigned by 64 signed bytes and adds four products into each of 16 sums of 32 bits, without
saturation: the most products per instruction that the processor has. No library offers it with the choice of rows
inside the loop, so that scores never leave the registers unless they matter, and over rows as they lie, without a
packed copy of the gallery. A sum stays below 255 * 127 * d, which fits 31 bits up to d = 66,000.

- `hits_V`: a tile of `TILE_ROWS` rows by 16 V probes stays in registers while the loop runs over the dimensions.
  Probes are unsigned (code + 128) and interleaved: four dimensions of 16 probes side by side; four dimensions of a row
  are broadcast. Sums begin at `offsets` (-128 times the sum of the row's code), which takes the 128 back. Where a sum
  reaches its probe's floor, row, probe and score are written out. The next tile's rows are asked for in advance.
- `scores_V`: the same, and writes all sums, 16 V for each row.
- `coarse`: one probe over 4-bit codes, which a table turns into unsigned levels: it only waits for memory. It writes
  the most that a row's similarity can be, by the row's residual.
- `chosen`: one probe over the 8-bit codes of those rows where this reaches a floor; row and score where the score does.

Loops read some rows beyond the end (`segments.OVERREAD`), which must be there; callers drop what they say of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm

from pipeline.errors import UsageError
from pipeline.gallery.index.assembly import Body

TILE_ROWS = 5
"""With four vectors of probes, 20 of the 32 registers hold sums."""
PROBE_VECTORS = (1, 2, 4)
"""Sizes of a batch that there are loops for, in vectors of 16 probes."""
_NEEDED = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")
_COARSE_ROWS = 4
_CHOSEN_AHEAD = 16

_DECLARED = """
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)
declare <64 x i8> @llvm.x86.avx512.pshuf.b.512(<64 x i8>, <64 x i8>)
declare <16 x i32> @llvm.x86.avx512.mask.compress.v16i32(<16 x i32>, <16 x i32>, <16 x i1>)
declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)
declare i16 @llvm.ctpop.i16(i16)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""


def _tiles(vectors: int, *, dense: bool) -> str:
    """`scores_V` or `hits_V`, for V = `vectors`."""
    out = (
        "ptr noalias %out"
        if dense
        else "ptr %floors, ptr noalias %row_out, ptr noalias %probe_out, ptr noalias %score_out, i64 %room"
    )
    b = Body(
        f"i64 @{'scores' if dense else 'hits'}_{vectors}(ptr %codes, ptr %offsets, i64 %first, i64 %end, i64 %width,"
        f" ptr %probes, {out}, ptr noalias %stopped)"
    )
    cells = [(row, vector) for row in range(TILE_ROWS) for vector in range(vectors)]
    b.label("entry")
    floors = [] if dense else [b.load("<16 x i32>", "%floors", vector) for vector in range(vectors)]
    b.do("br label %tile")

    b.label("tile")
    b("phi i64 [ %first, %entry ], [ %next_row, %after ]", "%row")
    b("phi i64 [ 0, %entry ], [ %count_after, %after ]", "%count")
    base = b.at("i8", "%codes", b("mul i64 %row, %width"))
    rows = [b.at("i8", base, b(f"mul i64 %width, {row}")) for row in range(TILE_ROWS)]
    starts = [b.splat(b.load("i32", "%offsets", b(f"add i64 %row, {row}"))) for row in range(TILE_ROWS)]
    b(f"add i64 %row, {TILE_ROWS}", "%next_row")
    b("icmp slt i64 %next_row, %end", "%more_rows")
    ahead = b.at("i8", "%codes", b(f"mul i64 {b('select i1 %more_rows, i64 %next_row, i64 %row')}, %width"))
    tile_bytes = b(f"mul i64 %width, {TILE_ROWS}")
    b.do("br label %ask")

    b.label("ask")
    b("phi i64 [ 0, %tile ], [ %asked_after, %ask ]", "%asked")
    b.prefetch(ahead, "%asked", 2)
    b("add i64 %asked, 64", "%asked_after")
    b.do(f"br i1 {b(f'icmp slt i64 %asked_after, {tile_bytes}')}, label %ask, label %begin")

    b.label("begin")
    b.do("br label %dimensions")

    b.label("dimensions")
    b("phi i64 [ 0, %begin ], [ %k_after, %dimensions ]", "%k")
    sums = {
        (row, v): b(f"phi <16 x i32> [ {starts[row]}, %begin ], [ %sum_{row}_{v}, %dimensions ]") for row, v in cells
    }
    # Eight dimensions at a time: the loop's own instructions do not count then.
    for half in range(2):
        k = b(f"add i64 %k, {4 * half}")
        at = b.at("i8", "%probes", b(f"mul i64 {k}, {16 * vectors}"))
        probes = [b.bytes(at, 64 * vector) for vector in range(vectors)]
        for row in range(TILE_ROWS):
            four = b(f"bitcast <16 x i32> {b.splat(b.bytes(rows[row], k, 'i32'))} to <64 x i8>")
            for vector in range(vectors):
                name = f"%sum_{row}_{vector}" if half else None
                sums[row, vector] = b.dot(sums[row, vector], probes[vector], four, name)
    b("add i64 %k, 8", "%k_after")
    b.do(f"br i1 {b('icmp slt i64 %k_after, %width')}, label %dimensions, label %seen")

    b.label("seen")
    if dense:
        for row, vector in cells:
            of_scan = b(f"sub i64 {b(f'add i64 %row, {row}')}, %first")
            number = b(f"mul i64 {of_scan}, {vectors}")
            place = b.at("<16 x i32>", "%out", b(f"add i64 {number}, {vector}"))
            b.do(f"store <16 x i32> {sums[row, vector]}, ptr {place}, align 1")
        b.do("br label %after")
    else:
        _write_hits(b, cells, sums, floors)

    b.label("after")
    b(f"phi i64 [ %count, %seen ]{'' if dense else ', [ %count_written, %written ]'}", "%count_after")
    go_on = "%more_rows" if dense else b(f"and i1 %more_rows, {b('icmp slt i64 %count_after, %room')}")
    b.do(f"br i1 {go_on}, label %tile, label %out_of_rows")
    b.label("out_of_rows")
    b.do("store i64 %next_row, ptr %stopped, align 8")
    b.do("ret i64 %count_after")
    return b.end()


def _write_hits(b: Body, cells: list[tuple[int, int]], sums: dict[tuple[int, int], str], floors: list[str]) -> None:
    """From %seen to %written, or to %after where no sum of the tile reaches its floor."""
    reached = {cell: b(f"icmp sge <16 x i32> {sums[cell]}, {floors[cell[1]]}") for cell in cells}
    bits = {cell: b(f"bitcast <16 x i1> {reached[cell]} to i16") for cell in cells}
    some = bits[cells[0]]
    for cell in cells[1:]:
        some = b(f"or i16 {some}, {bits[cell]}")
    b.do(f"br i1 {b(f'icmp ne i16 {some}, 0')}, label %cell_0, label %after")
    count = "%count"
    for number, cell in enumerate(cells):
        b.label(f"cell_{number}")
        if number:
            count = b(f"phi i64 [ {count}, %cell_{number - 1} ], [ %count_{number - 1}, %write_{number - 1} ]")
        later = f"cell_{number + 1}" if number + 1 < len(cells) else "written"
        b.do(f"br i1 {b(f'icmp ne i16 {bits[cell]}, 0')}, label %write_{number}, label %{later}")
        b.label(f"write_{number}")
        row, vector = cell
        row_number = b.splat(b(f"trunc i64 {b(f'add i64 %row, {row}')} to i32"))
        probe_numbers = ", ".join(f"i32 {16 * vector + lane}" for lane in range(16))
        written = {"%row_out": row_number, "%probe_out": f"<{probe_numbers}>", "%score_out": sums[cell]}
        for base, values in written.items():
            b.compress(values, base, count, reached[cell])
        new = b(f"zext i16 {b(f'call i16 @llvm.ctpop.i16(i16 {bits[cell]})')} to i64")
        b(f"add i64 {count}, {new}", f"%count_{number}")
        b.do(f"br label %{later}")
    b.label("written")
    last = len(cells) - 1
    b(f"phi i64 [ {count}, %cell_{last} ], [ %count_{last}, %write_{last} ]", "%count_written")
    b.do("br label %after")


def _coarse(width: int) -> str:
    """`coarse`; two dimensions in a byte: of each 128, the first 64 are the low halves."""
    b = Body(
        "i64 @coarse(ptr %codes, ptr %residuals, i64 %count, ptr %probe, ptr %levels, i32 %offset, float %unit,"
        " float %length, float %slack, ptr noalias %out)"
    )
    b.label("entry")
    levels = b.bytes("%levels", 0)
    low_half = "<" + ", ".join(["i8 15"] * 64) + ">"
    unit, length, slack = (b.splat(name, 4, "float") for name in ("%unit", "%length", "%slack"))
    start = b("insertelement <16 x i32> zeroinitializer, i32 %offset, i64 0")
    probes = [b.bytes("%probe", at) for at in range(0, width, 64)]
    b.do("br label %tile")
    b.label("tile")
    b("phi i64 [ 0, %entry ], [ %next_row, %tile ]", "%row")
    base = b.at("i8", "%codes", b(f"mul i64 %row, {width // 2}"))
    sums = []
    # Byte after byte as memory has them: it is asked for in advance only if nothing is skipped.
    for row in range(_COARSE_ROWS):
        total = start
        for number, at in enumerate(range(0, width // 2, 64)):
            address = row * width // 2 + at
            both = b.bytes(base, address)
            high = b(f"bitcast <64 x i8> {both} to <32 x i16>")
            high = b(f"lshr <32 x i16> {high}, <{', '.join(['i16 4'] * 32)}>")
            for side, half in enumerate((both, b(f"bitcast <32 x i16> {high} to <64 x i8>"))):
                code = b(f"and <64 x i8> {half}, {low_half}")
                level = b(f"call <64 x i8> @llvm.x86.avx512.pshuf.b.512(<64 x i8> {levels}, <64 x i8> {code})")
                total = b.dot(total, level, probes[2 * number + side])
        sums.append(total)
    scores = b(f"sitofp <4 x i32> {b.four_totals(sums)} to <4 x float>")
    wrong = b(f"fmul <4 x float> {b.bytes(b.at('float', '%residuals', '%row'), 0, '<4 x float>')}, {length}")
    least_wrong = b(f"fadd <4 x float> {wrong}, {slack}")
    most = b(f"fadd <4 x float> {b(f'fmul <4 x float> {scores}, {unit}')}, {least_wrong}")
    b.do(f"store <4 x float> {most}, ptr {b.at('float', '%out', '%row')}, align 1")
    b(f"add i64 %row, {_COARSE_ROWS}", "%next_row")
    b.do(f"br i1 {b('icmp slt i64 %next_row, %count')}, label %tile, label %out_of_rows")
    b.label("out_of_rows")
    b.do("ret i64 %next_row")
    return b.end()


def _chosen() -> str:
    """`chosen`; `most` has 16 more values than rows, none of which reaches the floor, and `list` as much room."""
    b = Body(
        "i64 @chosen(ptr %most, i64 %count, float %floor, ptr noalias %list, ptr %codes, ptr %offsets, i64 %width,"
        " ptr %probe, i32 %least, ptr noalias %row_out, ptr noalias %score_out)"
    )
    lanes = ", ".join(f"i32 {lane}" for lane in range(16))
    b.label("entry")
    floor = b.splat("%floor", kind="float")
    b.do("br label %look")
    b.label("look")
    b("phi i64 [ 0, %entry ], [ %next_first, %looked ]", "%first")
    b("phi i64 [ 0, %entry ], [ %listed_after, %looked ]", "%listed")
    reached = b(f"fcmp oge <16 x float> {b.bytes(b.at('float', '%most', '%first'), 0, '<16 x float>')}, {floor}")
    bits = b(f"bitcast <16 x i1> {reached} to i16")
    b.do(f"br i1 {b(f'icmp ne i16 {bits}, 0')}, label %note, label %looked")
    b.label("note")
    numbers = b(f"add <16 x i32> {b.splat(b('trunc i64 %first to i32'))}, <{lanes}>")
    b.compress(numbers, "%list", "%listed", reached)
    new = b(f"zext i16 {b(f'call i16 @llvm.ctpop.i16(i16 {bits})')} to i64")
    b(f"add i64 %listed, {new}", "%listed_more")
    b.do("br label %looked")
    b.label("looked")
    b("phi i64 [ %listed, %look ], [ %listed_more, %note ]", "%listed_after")
    b("add i64 %first, 16", "%next_first")
    b.do(f"br i1 {b('icmp slt i64 %next_first, %count')}, label %look, label %all_looked")
    b.label("all_looked")
    b.do(f"br i1 {b('icmp eq i64 %listed_after, 0')}, label %nothing, label %each")
    b.label("nothing")
    b.do("ret i64 0")

    b.label("each")
    b("phi i64 [ 0, %all_looked ], [ %next, %done ]", "%number")
    b("phi i64 [ 0, %all_looked ], [ %written_after, %done ]", "%written")
    b(f"add i64 %number, {_CHOSEN_AHEAD}", "%later")
    asked = b(f"select i1 {b('icmp slt i64 %later, %listed_after')}, i64 %later, i64 %number")
    row, row_asked = (b(f"zext i32 {b.load('i32', '%list', number)} to i64") for number in ("%number", asked))
    base, ahead = (b.at("i8", "%codes", b(f"mul i64 {each}, %width")) for each in (row, row_asked))
    start = b(f"insertelement <16 x i32> zeroinitializer, i32 {b.load('i32', '%offsets', row)}, i64 0")
    b.do("br label %dimensions")
    b.label("dimensions")
    b("phi i64 [ 0, %each ], [ %k_after, %dimensions ]", "%k")
    b(f"phi <16 x i32> [ {start}, %each ], [ %sum, %dimensions ]", "%sums")
    b.prefetch(ahead, "%k", 2)
    b.dot("%sums", b.bytes("%probe", "%k"), b.bytes(base, "%k"), "%sum")
    b("add i64 %k, 64", "%k_after")
    b.do(f"br i1 {b('icmp slt i64 %k_after, %width')}, label %dimensions, label %done")
    b.label("done")
    # Written wherever, and kept by counting it.
    score = b.total("%sum")
    b.do(f"store i32 {b(f'trunc i64 {row} to i32')}, ptr {b.at('i32', '%row_out', '%written')}, align 4")
    b.do(f"store i32 {score}, ptr {b.at('i32', '%score_out', '%written')}, align 4")
    kept = b(f"zext i1 {b(f'icmp sge i32 {score}, %least')} to i64")
    b(f"add i64 %written, {kept}", "%written_after")
    b("add i64 %number, 1", "%next")
    b.do(f"br i1 {b('icmp slt i64 %next, %listed_after')}, label %each, label %out_of_rows")
    b.label("out_of_rows")
    b.do("ret i64 %written_after")
    return b.end()


class MachineCode:
    """The compiled loops. Pointers are addresses of numpy arrays, which the caller keeps; they release the GIL."""

    def __init__(self, width: int) -> None:
        """For codes of `width` numbers. Raises `UsageError` where the processor lacks the instructions."""
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        missing = [name for name in _NEEDED if not features.get(name)]
        if missing:
            raise UsageError(f"compiling scans of 8-bit codes: the processor has no {', '.join(missing)}")
        texts = [_tiles(vectors, dense=dense) for vectors in PROBE_VECTORS for dense in (False, True)]
        module = llvm.parse_assembly("\n".join([_DECLARED, *texts, _coarse(width), _chosen()]))
        module.verify()
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
        )
        # The code lives as long as this object.
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.hits = {vectors: self._function(f"hits_{vectors}", "ppnnnpppppnp") for vectors in PROBE_VECTORS}
        self.scores = {vectors: self._function(f"scores_{vectors}", "ppnnnppp") for vectors in PROBE_VECTORS}
        self.coarse = self._function("coarse", "ppnppifffp")
        self.chosen = self._function("chosen", "pnfpppnpipp")

    def _function(self, name: str, arguments: str) -> Callable[..., int]:
        kinds = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "i": ctypes.c_int32, "f": ctypes.c_float}
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *(kinds[letter] for letter in arguments))
        return prototype(self._engine.get_function_address(name))


@cache
def machine_code(width: int) -> MachineCode:
    """Compiled once in a process."""
    return MachineCode(width)
