"""The typed dictionaries are those of openapi.yaml: the same fields, required and not."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import Any

from facet_client import _types

SCHEMAS = json.loads((Path(__file__).resolve().parents[3] / "openapi.json").read_text())["components"]["schemas"]


def fields(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """All fields of a schema, and the required ones."""
    if "$ref" in schema:
        return fields(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    known, required = set(schema.get("properties", ())), set(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        more, needed = fields(part)
        known, required = known | more, required | needed
    return known, required


class Types(unittest.TestCase):
    def test_fields(self) -> None:
        names = [name for name in vars(_types) if name in SCHEMAS]
        self.assertGreater(len(names), 12)
        for name in names:
            known, required = fields(SCHEMAS[name])
            declared = getattr(_types, name)
            self.assertEqual((set(declared.__required_keys__), set(declared.__required_keys__ | declared.__optional_keys__)), (required, known), name)


if __name__ == "__main__":
    unittest.main()
