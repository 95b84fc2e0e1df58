import subprocess
import sys


def test_the_package_runs_as_the_command() -> None:
    answer = subprocess.run([sys.executable, "-P", "-m", "app"], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("heliograph: ")
