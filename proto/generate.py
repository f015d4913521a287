"""Generate `minicloud/wire/gen` from the .proto files beside this script.

Usage: python proto/generate.py OUTPUT_DIR

Two products: the message classes, stubs and service bases (betterproto2, in grpclib's model), and
`descriptors.binpb`, the file descriptor set that the codec and server reflection work from. Messages are
given our own base, `minicloud.wire.message.Message`, which betterproto2 has no option for.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent


def generate(output: Path) -> None:
    """Write the generated package to `output`, replacing what was there; exit 1 where protoc refuses."""
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    # The plugin formats its output with the ruff of this environment.
    tools = Path(sys.executable).parent
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"--plugin=protoc-gen-python_betterproto2={tools}/protoc-gen-python_betterproto2",
            f"--proto_path={HERE}",
            f"--proto_path={well_known}",
            f"--python_betterproto2_out={output}",
            # Without these the compiler makes synchronous grpcio stubs.
            "--python_betterproto2_opt=server_generation=async,client_generation=async",
            f"--descriptor_set_out={output}/descriptors.binpb",
            "--include_imports",
            *sources,
        ]
    )
    if status != 0:
        raise SystemExit(f"protoc refused {HERE}: see above")
    for path in sorted(output.rglob("*.py")):
        _rebase(path)


def _rebase(path: Path) -> None:
    """Have the messages in `path` derive from our base."""
    text = path.read_text(encoding="utf-8")
    if "(betterproto2.Message)" in text:
        text = text.replace("(betterproto2.Message)", "(Message)")
        first_import = "import betterproto2\n"
        assert first_import in text, f"{path}: the compiler's output has changed"
        path.write_text(
            text.replace(first_import, f"{first_import}from minicloud.wire.message import Message\n", 1),
            encoding="utf-8",
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    generate(Path(sys.argv[1]))
