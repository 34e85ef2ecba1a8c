"""The plan of runs: adapt.py and allocate.py take what it gives them, names are unique, and what a run needs another makes."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import adapt
import allocation_tables
import network as net
import plan


class Plan(unittest.TestCase):
    def test_every_run_has_a_results_file_of_its_own(self):
        names = [f"{r.folder}{r.name}" for r in plan.plan()]
        self.assertEqual(len(names), len(set(names)))

    def test_scripts_take_the_options(self):
        paths = ["--data", "d", "--trunk", "t"]
        for run in plan.plan() + plan.every_design(2, seeds=2):
            if run.needs is None:
                args = adapt.arguments([*paths, *(["--design", "parallel"] if run.script == "allocate.py" else []), *run.options])
                self.assertIn(args.name or f"{args.domain}.{args.design}", (run.name, f"{run.name}.parallel"))

    def test_lists_of_slots_are_made_by_runs_before_those_that_need_them(self):
        made = set()
        for run in plan.plan():
            if run.script == "allocate.py":
                made.add(run.options[run.options.index("--domain") + 1])
            if run.needs:
                self.assertIn(run.needs.name.split(".")[0], made)
        self.assertEqual(set(plan.LISTS), set(allocation_tables.LISTS))
        self.assertEqual(plan.FIXED_SLOTS, allocation_tables.FIXED)

    def test_the_plan_for_a_gpu_has_each_design_and_more_seeds_where_asked(self):
        self.assertEqual(plan.DESIGNS, net.DESIGNS)
        runs = plan.every_design(60)
        self.assertEqual(len(runs), len(plan.EPOCHS) * len(net.DESIGNS))
        self.assertTrue(all("60" in r.options or "feature" in r.options for r in runs))
        more = plan.every_design(60, seeds=3)
        self.assertEqual(more[:len(runs)], runs)
        self.assertEqual({r.stage for r in more}, {"designs", "seeds", "allocation"})
        self.assertEqual(len([r for r in more if r.stage == "allocation"]), 3 * len(plan.ALLOCATED) * len(plan.FIXED_SLOTS))


if __name__ == "__main__":
    unittest.main()
