"""Puts the race's modules on the path; a test file imports this first."""

import sys
from pathlib import Path

RACE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RACE))
