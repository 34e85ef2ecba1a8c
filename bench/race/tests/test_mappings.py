"""Kinds of mappings, of lines as the kernel writes them."""

import os
import sys
import unittest

import here  # noqa: F401
import mappings
import processes
from mappings import Mapping, kind


class Kinds(unittest.TestCase):
    def test_files_by_their_path(self):
        of = lambda path: kind(Mapping(0x1000, 0x2000, "r-xp", path))  # noqa: E731
        self.assertEqual(of("/opt/node_modules/onnxruntime-node/bin/libonnxruntime.so.1"), "ONNX Runtime's library")
        self.assertEqual(of("/usr/bin/node"), "Node's or Python's program")
        self.assertEqual(of("/opt/facet/native/build/facet-linux-x64.node"), "the add-on")
        self.assertEqual(of("/lib/libm.so.6"), "other libraries")
        self.assertEqual(of("/opt/facet/models/resnet26-half/trunk.weights"), "weights and other files")

    def test_memory_of_no_file_by_place_and_rights(self):
        of = lambda start, length, rights="rw-p", **more: kind(Mapping(start, start + length, rights, "", **more))  # noqa: E731
        self.assertEqual(of(0x7F0000000000, 0x800000), "glibc's heaps of other threads")
        self.assertEqual(of(0x7F0000040000, 0x40000), "V8's heap")
        self.assertEqual(of(0x7F0000040000, 0x40000, "rwxp"), "code that V8 compiled")
        self.assertEqual(of(0x7F0000040000, 0x800000), "other memory: arena, stacks")
        self.assertEqual(of(0x7F0000040000, 0x800000, small_pages=True), "bank and heads")

    def test_a_table_has_a_line_for_each_kind_and_a_column_for_each_server(self):
        columns = {"a, 10": {"one": {"dirty": 2.0, "clean": 1.5}}, "b, 10": {"two": {"dirty": 3.0, "clean": 0.0}}}
        lines = mappings.as_table(columns).split("\n")
        self.assertEqual(lines[0], "| private MB, written + clean | a, 10 | b, 10 |")
        self.assertEqual(lines[2:], ["| one | 2.0 + 1.5 | 0.0 |", "| two | 0.0 | 3.0 |"])


@unittest.skipUnless(sys.platform == "linux", "reads /proc")
class OwnProcess(unittest.TestCase):
    def test_the_kinds_add_up_to_the_private_memory(self):
        pids = {os.getpid(): ""}
        rows = mappings.by_kind(pids, os.getpid())
        total = sum(row["dirty"] + row["clean"] for row in rows.values())
        self.assertAlmostEqual(total, processes.memory(pids)["private"], delta=2)
        self.assertEqual(list(mappings.by_kind(pids, 1)), ["child processes"])


if __name__ == "__main__":
    unittest.main()
