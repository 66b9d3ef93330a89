"""What a built program needs of the C library, against what the system has where it will run.

    python3 infra/check/glibc.py FILE lambda|azure      ends with 1 if it needs more
"""

import re
import sys
from pathlib import Path

# provided.al2023; and the oldest image (Debian 11) that an app of Azure Functions may run in.
SYSTEMS = {"lambda": (2, 34), "azure": (2, 31)}


def too_new(program: Path, system: str) -> list[str]:
    """A finding, if the program cannot start there. It names the versions of what it links as text among its bytes."""
    named = [tuple(map(int, version.split(b"."))) for version in re.findall(rb"GLIBC_(\d+\.\d+)", program.read_bytes())]
    if not named:
        return [f"{program} links no GLIBC: it is no program for that system"]
    return [f"the program needs GLIBC {max(named)}, and the system has {SYSTEMS[system]}"] if max(named) > SYSTEMS[system] else []


if __name__ == "__main__":
    sys.exit("\n".join(too_new(Path(sys.argv[1]), sys.argv[2])) or 0)
