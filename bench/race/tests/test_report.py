"""The arithmetic on which every figure of a race rests."""

import unittest

import here  # noqa: F401
from report import Report, cell, number, progress


def row(name: str, round: int = 0, rate: float = 100, **more: object) -> dict:
    return {
        "name": name,
        "domains": 10,
        "served": 10,
        "round": round,
        "rate": rate,
        "cpu_s_1000": 5.0,
        "p50": 80.0,
        "p99": 100.0,
        "failed": 0,
        "failure": None,
        "load_cores": 0.05,
        "single": {"p50": 5.0, "p99": 6.0, "rate": 190.0, "failed": 0, "failure": None},
        "memory_mb": {"private": 200.0, "dirty": 150.0, "proportional": 220.0},
        "ready_s": 0.7,
        "all_ready_s": 0.9,
        "add": {"ms": 50.0, "others_failed": 0, "others_p99": 90.0, "others_max": 95.0},
        **more,
    }


class Cells(unittest.TestCase):
    def test_three_digits(self):
        self.assertEqual([number(of) for of in (1234.5, 99.94, 7.126, 0.6543)], ["1234", "99.9", "7.13", "0.654"])

    def test_a_cell_is_the_median_and_the_range(self):
        self.assertEqual(cell([3.0, 1.0, 2.0]), "2 (1-3)")
        self.assertEqual(cell([2.0, 2.0]), "2")
        self.assertEqual(cell([]), "-")


class Ratios(unittest.TestCase):
    def summary(self, rows: list[dict]) -> dict[str, dict]:
        return {entry["name"]: entry for entry in Report(rows).summary()}

    def test_ratios_are_taken_within_a_round(self):
        # The second round is on a machine half as fast. The ratio of the medians would be 250 / 150.
        rows = [row("facet", 0, 200), row("fastapi", 0, 300), row("facet", 1, 100), row("fastapi", 1, 200)]
        self.assertEqual(self.summary(rows)["fastapi"]["images_ratio"], 1.75)
        self.assertEqual(self.summary(rows)["facet"]["images_ratio"], 1)

    def test_rounds_that_one_side_lacks_do_not_count(self):
        rows = [row("facet", 0, 200), row("fastapi", 0, 300), row("fastapi", 1, 9000)]
        summary = self.summary(rows)["fastapi"]
        self.assertEqual((summary["images_ratio"], summary["rounds"]), (1.5, 2))

    def test_without_ours_there_are_no_ratios(self):
        self.assertNotIn("images_ratio", self.summary([row("fastapi")])["fastapi"])

    def test_a_run_that_broke_is_in_no_figure(self):
        broken = {"name": "facet", "domains": 10, "served": 10, "round": 1, "error": "RuntimeError: it ended"}
        report = Report([row("facet"), broken])
        self.assertEqual(report.summary()[0]["rounds"], 1)
        self.assertEqual(report.errors(), ["facet, 10 domains, round 2: RuntimeError: it ended"])
        self.assertEqual(progress(broken), "RuntimeError: it ended")


class Table(unittest.TestCase):
    def test_each_number_of_domains_has_a_table_with_a_line_for_each_contestant(self):
        rows = [row("facet"), row("fastapi", rate=150), row("facet", domains=50, served=50)]
        parts = Report(rows).table().split("\n\n")
        self.assertTrue(parts[0].startswith("| 10 domains | images/s |"))
        self.assertTrue(parts[0].split("\n")[3].startswith("| fastapi | 150 | 5 | 80.0 |"))
        self.assertTrue(parts[1].split("\n")[3].startswith("| fastapi | - |"))
        widths = {line.count("|") for line in parts[0].split("\n")}
        self.assertEqual(len(widths), 1, "every line has as many cells")

    def test_fewer_domains_than_asked_for_are_told(self):
        self.assertIn("| facet (with 7: more do not fit) |", Report([row("facet", served=7)]).table())

    def test_answers_are_in_the_table(self):
        answers = {"difference": 2e-6, "other_class": 0, "exact": 120, "agreement": 96.2}
        self.assertIn("| facet | 10 | 2.0e-06 | 0 of 120 | 96.2 |", Report([row("facet", answers=answers)]).table())


class Errors(unittest.TestCase):
    def test_a_race_without_faults_has_none(self):
        self.assertEqual(Report([row("facet")]).errors(), [])

    def test_failed_requests_and_wrong_answers_are_told(self):
        single = {"p50": None, "p99": None, "rate": 0, "failed": 4, "failure": "HTTP 503: busy"}
        add = {"ms": 50.0, "others_failed": 3, "others_p99": None, "others_max": None}
        found = Report([row("a", failed=2, failure="HTTP 500: no", single=single, add=add, wrong="scores differ")]).errors()
        self.assertEqual(
            [line.removeprefix("a, 10 domains, round 1: ") for line in found],
            [
                "scores differ",
                "2 requests failed: HTTP 500: no",
                "4 requests failed: HTTP 503: busy",
                "3 requests failed while a domain was added",
            ],
        )


if __name__ == "__main__":
    unittest.main()
