"""OpenVINO tells its maker nothing: no client id in the home folder, no socket opened."""

import os
import subprocess
import sys
from pathlib import Path

LISTENING = """
import sys
sys.addaudithook(lambda event, args: event in ("socket.connect", "socket.getaddrinfo") and print(event, args))
import noria.engine, openvino, openvino_genai
import openvino.tools.ovc.convert_impl as conversion
conversion.init_ovc_telemetry().send_event("ovc", "test", "test")
print(conversion.tm.__name__)
"""


def test_importing_and_converting_is_told_to_nobody(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", LISTENING], env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["openvino.tools.ovc.telemetry_stub"]
    assert not list(tmp_path.iterdir())
