"""What a built program needs of the C library, against what the function's system has: `python3 infra/check/glibc.py FILE` ends with 1 if it is more."""

import re
import sys
from pathlib import Path

# provided.al2023
SYSTEM = (2, 34)


def too_new(program: Path) -> list[str]:
    """A finding, if the program cannot start there. It names the versions of what it links as text among its bytes."""
    named = [tuple(map(int, version.split(b"."))) for version in re.findall(rb"GLIBC_(\d+\.\d+)", program.read_bytes())]
    if not named:
        return [f"{program} links no GLIBC: it is no program for the function's system"]
    return [f"the program needs GLIBC {max(named)}, and the function's system has {SYSTEM}"] if max(named) > SYSTEM else []


if __name__ == "__main__":
    sys.exit("\n".join(too_new(Path(sys.argv[1]))) or 0)
