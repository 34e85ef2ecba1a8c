"""A server's processes, found and counted."""

import os
import subprocess
import sys
import unittest

import here  # noqa: F401
import processes

#: Starts a child, says its id, and waits until standard input ends.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""


@unittest.skipUnless(sys.platform == "linux", "reads /proc")
class Processes(unittest.TestCase):
    def setUp(self):
        self.server = subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.child = int(self.server.stdout.readline())

    def tearDown(self):
        self.server.communicate()

    def test_a_server_is_its_first_process_and_all_below_it(self):
        found = processes.server_processes(self.server.pid)
        self.assertEqual(set(found), {self.server.pid, self.child})
        self.assertNotIn(os.getpid(), found)

    def test_memory_is_summed_over_them(self):
        found = processes.server_processes(self.server.pid)
        both = processes.memory(found)
        one = processes.memory({self.child: found[self.child]})
        self.assertGreater(both["dirty"], one["dirty"])
        self.assertGreaterEqual(both["private"], both["dirty"])

    def test_a_process_is_told_from_a_later_one_of_its_id(self):
        start = processes.server_processes(self.server.pid)[self.child]
        self.assertTrue(processes.is_still(self.child, start))
        self.assertFalse(processes.is_still(self.child, str(int(start) + 1)))

    def test_one_that_is_gone_counts_nothing(self):
        found = processes.server_processes(self.server.pid)
        self.server.communicate()
        self.assertEqual(processes.cpu_seconds({self.server.pid: found[self.server.pid]}), {})
        self.assertEqual(processes.memory({self.server.pid: found[self.server.pid]})["private"], 0)

    def test_cpu_time_between_two_readings_counts_new_processes_whole(self):
        self.assertEqual(processes.cpu_between({1: 2.0}, {1: 3.0, 7: 0.5}), 1.5)


if __name__ == "__main__":
    unittest.main()
