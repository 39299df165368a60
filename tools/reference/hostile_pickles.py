"""Checkpoints that a reader must refuse: folder `pickle/hostile/`.

None of them does harm if it is run after all: a shell command only prints, and nothing is imported
that is not in the standard library or in PyTorch. Each is tiny, whatever size it claims.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch

from golden import GOLDEN_DIR, use_one_thread

FOLDER = GOLDEN_DIR / "pickle" / "hostile"
COMMAND = "echo a pickle ran this"

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class Reduces:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def text_opcode(text: str) -> bytes:
    """BINUNICODE, the opcode that pushes a string."""
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def tensor_opcodes(key: str, sizes: tuple[int, int], storage_size: int, persistent: bytes = b"") -> bytes:
    """A state dict of one tensor, `transformer.wte.weight`, with free claims about its size."""

    def integer(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    storage = persistent or (
        b"("
        + text_opcode("storage")
        + b"ctorch\nFloatStorage\n"
        + text_opcode(key)
        + text_opcode("cpu")
        + integer(storage_size)
        + b"tQ"
    )
    shape = b"(" + b"".join(map(integer, sizes)) + b"t"
    strides = b"(" + integer(sizes[1]) + integer(1) + b"t"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + integer(0)
        + shape
        + strides
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )
    return b"\x80\x02}" + text_opcode("transformer.wte.weight") + tensor + b"s."


def in_zip(data: bytes, storages: dict[str, bytes] | None = None, name: str = "archive") -> bytes:
    """The new format of `torch.save` around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        entries = {"data.pkl": data, "byteorder": b"little", "version": b"3\n"}
        entries |= {f"data/{key}": content for key, content in (storages or {}).items()}
        for entry, content in entries.items():
            archive.writestr(zipfile.ZipInfo(f"{name}/{entry}"), content)
    return buffer.getvalue()


def in_legacy(data: bytes) -> bytes:
    """The legacy format around a pickle: magic, protocol, system, the pickle, the storages' keys."""
    system = {"protocol_version": LEGACY_PROTOCOL, "little_endian": True, "type_sizes": {}}
    before = [pickle.dumps(value, protocol=2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, system)]
    return b"".join(before) + data + pickle.dumps([], protocol=2)


def saved(value: object, legacy: bool = False) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def hostile_files() -> dict[str, bytes]:
    """Name and content of each file."""
    torch.manual_seed(0)
    weights = OrderedDict({"transformer.wte.weight": torch.arange(8.0).reshape(2, 4)})
    call_system = Reduces(os.system, COMMAND)
    reduce_system = pickle.dumps(call_system, protocol=2)
    stack_global = (
        b"\x80\x04"
        + text_opcode("posix")
        + text_opcode("system")
        + b"\x93"
        + text_opcode(COMMAND)
        + b"\x85R."
    )
    global_eval = b"\x80\x02cbuiltins\neval\n" + text_opcode("1+1") + b"\x85R."
    inst = b"(" + text_opcode(COMMAND) + b"iposix\nsystem\n."
    # The legacy format names a module's class and source by a persistent id; written by hand, because
    # torch.save would put the path of this installation in it.
    legacy_module = (
        b"\x80\x02("
        + text_opcode("module")
        + b"ctorch.nn.modules.linear\nLinear\n"
        + text_opcode("linear.py")
        + text_opcode("class Linear: ...")
        + b"tQ)\x81}b."
    )
    wrong_persistent_type = b"\x8a\x01\x07Q"
    wrong_persistent_tuple = (
        b"(" + text_opcode("module") + b"ctorch\nFloatStorage\n" + text_opcode("0") + b"tQ"
    )
    storage = torch.arange(8.0).numpy().tobytes()
    loop = b"\x80\x02]q\x00h\x00a."
    whole_zip, whole_legacy = saved(weights), saved(weights, legacy=True)
    files = {
        "reduce_os_system_bare.bin": reduce_system,
        "reduce_os_system_zip.bin": in_zip(reduce_system),
        "reduce_os_system_legacy.bin": in_legacy(reduce_system),
        "reduce_os_system_beside_tensors.bin": saved({**weights, "transformer.wpe.weight": call_system}),
        "reduce_os_system_beside_tensors_legacy.bin": saved({**weights, "x": call_system}, legacy=True),
        "global_builtins_eval.bin": in_zip(global_eval),
        "stack_global_posix_system.bin": in_zip(stack_global),
        "inst_posix_system.bin": in_zip(inst),
        "build_with_setstate.bin": saved(Reduces(io.BytesIO, b"x")),
        "whole_module.bin": saved(torch.nn.Sequential(torch.nn.Linear(2, 2))),
        "whole_module_legacy.bin": in_legacy(legacy_module),
        "persistent_id_is_a_number.bin": in_zip(tensor_opcodes("0", (2, 4), 8, wrong_persistent_type)),
        "persistent_id_is_not_a_storage.bin": in_zip(tensor_opcodes("0", (2, 4), 8, wrong_persistent_tuple)),
        "storage_missing.bin": in_zip(tensor_opcodes("0", (2, 4), 8)),
        "storage_shorter_than_claimed.bin": in_zip(tensor_opcodes("0", (4, 4), 16), {"0": storage}),
        "tensor_larger_than_storage.bin": in_zip(tensor_opcodes("0", (1 << 20, 1 << 20), 8), {"0": storage}),
        "size_product_overflows.bin": in_zip(
            tensor_opcodes("0", (1 << 33, 1 << 33), 1 << 62), {"0": storage}
        ),
        "negative_size.bin": in_zip(tensor_opcodes("0", (-2, -4), 8), {"0": storage}),
        "storage_path_leaves_archive.bin": in_zip(tensor_opcodes("../../../etc/passwd", (2, 4), 8)),
        "huge_string_claim.bin": in_zip(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc."),
        "huge_bytes_claim.bin": in_zip(b"\x80\x02T" + struct.pack("<i", 0x7FFFFFFF) + b"abc."),
        "huge_frame_claim.bin": in_zip(b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N."),
        "huge_memo_index.bin": in_zip(b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFFF) + b"."),
        "many_marks.bin": in_zip(b"\x80\x02" + b"(" * 2000 + b"."),
        "list_that_holds_itself.bin": in_zip(loop),
        "memo_never_written.bin": in_zip(b"\x80\x02h\x05."),
        "stack_underflow.bin": in_zip(b"\x80\x02R."),
        "no_stop.bin": in_zip(b"\x80\x02}"),
        "unknown_opcode.bin": in_zip(b"\x80\x02\xff."),
        "not_a_dict.bin": saved([torch.zeros(1)]),
        "key_is_not_text.bin": saved({7: torch.zeros(1)}),
        "truncated_zip.bin": whole_zip[: len(whole_zip) // 2],
        "truncated_legacy.bin": whole_legacy[: len(whole_legacy) - 9],
        "truncated_legacy_in_pickle.bin": whole_legacy[:150],
        "zip_without_data_pkl.bin": in_zip(b"", name="archive").replace(b"data.pkl", b"date.pkl"),
        "empty.bin": b"",
        "not_a_pickle.bin": b"<!DOCTYPE html><html>404</html>\n",
    }
    assert any(opcode.name == "STACK_GLOBAL" for opcode, _, _ in pickletools.genops(stack_global))
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def main() -> None:
    use_one_thread()
    write(FOLDER, hostile_files())
    # The control: hand-made like the files above and honest, so a reader that refuses it refuses too much.
    storage = torch.arange(8.0).numpy().tobytes()
    honest = in_zip(tensor_opcodes("0", (2, 4), 8), {"0": storage})
    write(FOLDER.parent, {"hand_made.bin": honest})
    assert list(torch.load(io.BytesIO(honest), weights_only=True)) == ["transformer.wte.weight"]


if __name__ == "__main__":
    main()
