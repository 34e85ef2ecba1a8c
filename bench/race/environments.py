"""The peers' virtual environments, with the versions that requirements/*.txt pin."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from paths import HERE, WORK, environment_python

#: Modules that an environment takes from the interpreter it is made with, as distributions package them.
FROM_DISTRIBUTION = {"torch": ("torch", "numpy")}
NAMES = ("fastapi", "torch")
#: Python that the race itself and its environments need.
MINIMUM = (3, 11)
#: What a results' file says of the versions.
TOLD = ("fastapi", "uvicorn", "numpy", "onnxruntime", "simplejpeg", "opencv-python-headless", "torch")

NO_TORCH = """\
No Python here has PyTorch, so the peer `torch` has no environment; the others have. Install it from the
distribution (Debian: apt-get install python3-torch python3-numpy python3-venv libopenblas0-pthread; without that
BLAS it is three times slower), or name an interpreter that has it (--torch-python PATH) or a CPU wheel
(--torch-wheel FILE, or torch==VERSION where the package index has CPU wheels for this machine)."""


def requirements(name: str) -> Path:
    return HERE / "requirements" / f"{name}.txt"


def stamp(name: str) -> str:
    """Changes with the list of packages."""
    return hashlib.sha256(requirements(name).read_bytes()).hexdigest()


def ready(name: str) -> bool:
    mark = WORK / f"venv-{name}" / "made-from"
    return mark.exists() and mark.read_text() == stamp(name)


def missing_environments(names: set[str]) -> list[str]:
    return sorted(name for name in names if not ready(name))


def setup(torch_python: str | None, torch_wheel: str | None) -> bool:
    """Makes the environments that are not there or are older than their list; False where PyTorch was not found."""
    WORK.mkdir(parents=True, exist_ok=True)
    make("fastapi", sys.executable, [])
    if torch_wheel:
        make("torch", sys.executable, [torch_wheel, "numpy"])
        return True
    candidates = [torch_python] if torch_python else [sys.executable, "/usr/bin/python3"]
    python = next((one for one in candidates if has(one, FROM_DISTRIBUTION["torch"])), None)
    if python is None:
        print(NO_TORCH, file=sys.stderr)
        return False
    make("torch", python, [])
    return True


def has(python: str, modules: tuple[str, ...]) -> bool:
    """Whether an interpreter is there and has the modules."""
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "-c", f"import {', '.join(modules)}"], capture_output=True).returncode == 0


def make(name: str, python: str, more: list[str]) -> None:
    """
    @param python: the interpreter that it is made with
    @param more: packages beside those of the list; without them an environment that needs some sees the interpreter's
    """
    if ready(name):
        print(f"{name}: there already", file=sys.stderr)
        return
    folder = WORK / f"venv-{name}"
    print(f"{name}: installing {requirements(name)} with {python} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    sees_system = ["--system-site-packages"] if name in FROM_DISTRIBUTION and not more else []
    subprocess.run([python, "-m", "venv", *sees_system, str(folder)], check=True)
    pip = [str(environment_python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(requirements(name)), *more], check=True)
    (folder / "made-from").write_text(stamp(name))


def versions() -> dict[str, dict[str, str]]:
    """Of each environment, the packages whose versions matter."""
    found = {}
    for name in NAMES:
        if not ready(name):
            continue
        code = f"import importlib.metadata as m\nfor d in m.distributions():\n  print((d.metadata['Name'] or '').lower(), d.version)"
        lines = subprocess.run([str(environment_python(name)), "-c", code], capture_output=True, text=True).stdout.split("\n")
        packages: dict[str, str] = {}
        for line in lines:
            package, _, version = line.partition(" ")
            # The first one found is the one that is imported.
            if package in TOLD:
                packages.setdefault(package, version)
        found[name] = packages
    return found
