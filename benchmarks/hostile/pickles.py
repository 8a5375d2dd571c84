"""Programs for an unpickler, given to `t2i models import`: they call functions, or ask for memory and time."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from cases import PAYLOAD, Case

RUN = PAYLOAD.encode()
ARGUMENT = b"X" + struct.pack("<I", len(RUN)) + RUN
PYTHON = f"__import__('os').system({PAYLOAD!r})".encode()
SOURCE = b"X" + struct.pack("<I", len(PYTHON)) + PYTHON
STATE = b"\x80\x02}X\x0a\x00\x00\x00state_dict}s."


def name(module: str, attribute: str) -> bytes:
    """A function by the opcode of protocol 4, which takes its names from the stack."""
    return b"".join(b"X" + struct.pack("<I", len(each)) + each.encode() for each in (module, attribute)) + b"\x93"


def call(module: str, attribute: str, argument: bytes = ARGUMENT) -> bytes:
    return b"\x80\x04" + name(module, attribute) + argument + b"\x85R."


def pair(first: bytes, second: bytes) -> bytes:
    return first + second + b"\x86R"


RUNS = {
    "os.system by name": b"\x80\x02cos\nsystem\n" + ARGUMENT + b"\x85R.",
    "os.system by stack": call("os", "system"),
    "posix.system": call("posix", "system"),
    "nt.system": call("nt", "system"),
    "subprocess.getoutput": call("subprocess", "getoutput"),
    "builtins.eval": call("builtins", "eval", SOURCE),
    "builtins.exec": call("builtins", "exec", SOURCE),
    "__builtin__.eval": call("__builtin__", "eval", SOURCE),
    "builtins.eval.__call__": call("builtins", "eval.__call__", SOURCE),
    "runpy": call("runpy", "_run_code", SOURCE),
    "timeit": call("timeit", "timeit", SOURCE),
    "code.InteractiveInterpreter": call("code", "interact", SOURCE),
    "pdb.run": call("pdb", "run", SOURCE),
    "cProfile.run": call("cProfile", "run", SOURCE),
    "pty.spawn": call("pty", "spawn"),
    "a module with dots": call("torch._utils.os", "system"),
    "a name with dots": call("torch.serialization", "os.system"),
    "a name through a harmless class": call("collections", "OrderedDict.__init__.__globals__"),
    "through torch.Size": call("torch", "Size.__class__.__subclasses__"),
    "an empty module": call("", "os.system"),
    "an empty name": call("os", ""),
    "a name with a NUL": call("os\0", "system"),
    "a name with escapes": call("\x1b[31mos\x07", "system\u202e"),
    "pip.main": call("pip", "main"),
    "importlib.import_module": call("importlib", "import_module", b"X\x04\x00\x00\x00this"),
    "torch.hub": call("torch.hub", "load"),
    "torch.load": call("torch", "load"),
    "pickle.loads in it": call("pickle", "loads", b"B" + struct.pack("<I", len(RUN)) + RUN),
    "INST": b"(" + b"S'" + RUN + b"'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + ARGUMENT + b"o.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n" + ARGUMENT + b"\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n" + ARGUMENT + b"\x85}\x92.",
    "BUILD of a function": b"\x80\x02cos\nsystem\n}X\x08\x00\x00\x00__call__" + ARGUMENT + b"sb.",
    "BUILD with slots": b"\x80\x02cos\nsystem\n)R}}X\x09\x00\x00\x00__class__K\x01s\x86b.",
    "BUILD of a harmless function": b"\x80\x02ctorch\nSize\n}X\x05\x00\x00\x00_callcos\nsystem\nsb.",
    "EXT1 of copyreg": b"\x80\x02\x82\x01" + ARGUMENT + b"\x85R.",
    "copyreg.add_extension": b"\x80\x02ccopyreg\nadd_extension\n(X\x02\x00\x00\x00osX\x06\x00\x00\x00system"
    + b"K\x01tR0\x82\x01"
    + ARGUMENT
    + b"\x85R.",
    "copyreg.__newobj__": b"\x80\x02ccopyreg\n__newobj__\n" + pair(b"cos\nsystem\n", ARGUMENT) + b".",
    "functools.partial": b"\x80\x02cfunctools\npartial\n" + pair(b"cos\nsystem\n", ARGUMENT) + b")R.",
    "operator.methodcaller": b"\x80\x02coperator\nmethodcaller\n" + pair(b"X\x06\x00\x00\x00system", ARGUMENT) + b".",
    "operator.attrgetter": b"\x80\x02coperator\nattrgetter\nX\x06\x00\x00\x00system\x85Rcos\n__dict__\n\x85R.",
    "map": b"\x80\x02cbuiltins\nset\ncbuiltins\nmap\n" + pair(b"cos\nsystem\n", b"(" + ARGUMENT + b"l") + b"\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n" + pair(b"cbuiltins\n__import__\n", ARGUMENT) + b".",
    "a callable default": b"\x80\x02ccollections\ndefaultdict\ncos\nsystem\n\x85R.",
    "a rebuild function": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN" + ARGUMENT + b"\x85NtR.",
    "a module's source": b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\n" + ARGUMENT + SOURCE + b"tQ.",
    "PERSID": b"P" + RUN + b"\n.",
    "a persistent tuple": b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\n"
    + ARGUMENT
    + b"X\x03\x00\x00\x00cpuK\x01tQ.",
    "_codecs.encode to another": b"\x80\x02c_codecs\nencode\n" + pair(ARGUMENT, b"X\x04\x00\x00\x00zlib") + b".",
}

EMPTY_TUPLES = b"\x80\x04)" + b"0)" * 2_000_000 + b"."
ASKS = {
    "nested 500,000 lists": b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b".",
    "nested 500,000 tuples": b"\x80\x02)" + b"\x85" * 500_000 + b".",
    "nested 500,000 dictionaries": b"\x80\x02" + b"}K\x01" * 500_000 + b"}" + b"s" * 500_000 + b".",
    "marks alone": b"\x80\x02" + b"(" * 3_000_000 + b".",
    "a stack of 3,000,000": b"\x80\x02" + b"N" * 3_000_000 + b".",
    "2,000,000 empty tuples": EMPTY_TUPLES,
    "copies of copies": b"\x80\x02]q\x00" + b"(h\x00h\x00eh\x00" * 200_000 + b".",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a dictionary that holds itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "a tuple that holds itself": b"\x80\x02]q\x00h\x00\x85q\x01ah\x01.",
    "an integer of 3 MB": b"\x80\x02\x8b" + struct.pack("<I", 3_000_000) + b"\x7f" * 3_000_000 + b".",
    "an integer of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "text of a large integer": b"\x80\x02cbuiltins\nstr\n\x8b"
    + struct.pack("<I", 900_000)
    + b"\x7f" * 900_000
    + b"\x85R.",
    "complex of a text": b"\x80\x02cbuiltins\ncomplex\nX\x40\x42\x0f\x00" + b"9" * 1_000_000 + b"\x85R.",
    "a device of a long text": b"\x80\x02ctorch\ndevice\nX\x40\x42\x0f\x00" + b"9" * 1_000_000 + b"\x85R.",
    "a size of large numbers": b"\x80\x02ctorch\nSize\n(" + b"\x8a\x09" + b"\xff" * 8 + b"\x00" + b"t\x85R.",
    "a memo that is not there": b"\x80\x02j\xff\xff\xff\xff.",
    "an opcode that is none": b"\x80\x02\xfe\xfd\xfc.",
    "protocol 255": b"\x80\xff.",
    "out-of-band buffers": b"\x80\x05\x97\x98.",
    "a frame that is too long": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "nothing but an end": b"\x80\x02.",
}


def colliding(kind: str, count: int) -> bytes:
    """A dictionary whose keys all have one hash: each is compared with all before it."""
    prime = (1 << 61) - 1
    if kind == "integers":
        keys = [pickle.dumps(prime * (index + 1), 2)[2:-1] for index in range(count)]
    elif kind == "complex numbers":
        parts = [(float(-1_000_003 * index), float(index)) for index in range(count)]
        keys = [b"h\x00" + struct.pack(">cdcd", b"G", real, b"G", imaginary) + b"\x86R" for real, imaginary in parts]
    else:
        keys = [b"h\x01(" + pickle.dumps(prime * (index + 1), 2)[2:-1] + b"l\x85R" for index in range(count)]
    head = b"\x80\x02cbuiltins\ncomplex\nq\x000cbuiltins\nfrozenset\nq\x010}"
    return head + b"".join(key + b"N" + b"s" for key in keys) + b"."


def pickles(random: Random, shared: Path) -> Iterator[Case]:
    programs = {**RUNS, **ASKS}
    programs |= {f"60,000 colliding {kind}": colliding(kind, 60_000) for kind in ("integers", "complex numbers")}
    programs["60,000 colliding sets"] = colliding("sets", 60_000)
    for index in range(6):
        damaged = bytearray(pickle.dumps({"state_dict": {str(i): list(range(i)) for i in range(20)}}, index % 5 + 1))
        for _ in range(9):
            damaged[random.randrange(2, len(damaged))] = random.randrange(256)
        programs[f"damaged bytes {index}"] = bytes(damaged)
    for number, (about, program) in enumerate(programs.items()):
        zipped = number % 3 == 2
        file = "a.pt" if zipped else "a.pkl"

        def write(folder: Path, program: bytes = program, zipped: bool = zipped) -> None:
            (folder / ("a.pt" if zipped else "a.pkl")).write_bytes(in_zip(program) if zipped else program)

        words = ["models", "import", file, "--as", "vqgan", "--name", "x"]
        yield Case(f"{about}{' in a zip' * zipped}", words, write, (1, 2), seconds=60, megabytes=1200)


def in_zip(program: bytes) -> bytes:
    """As `torch.save` lays it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a/data.pkl", program)
        made.writestr("a/byteorder", b"little")
        made.writestr("a/version", b"3\n")
    return stream.getvalue()
