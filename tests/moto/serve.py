"""Serves moto on a free port of the loopback interface, and ends with its standard input: however the process dies that holds the other end."""

import os
import sys
import threading

from moto.core.config import default_user_config
from moto.server import main

# It carries out definitions only if it is told to; else every execution has the same made-up history.
default_user_config["stepfunctions"]["execute_state_machine"] = True


def end_with_input():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
main(["-H", "127.0.0.1", "-p", "0"])
