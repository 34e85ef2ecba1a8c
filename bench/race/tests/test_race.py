"""Who runs when, with how many domains, and what the command line gives."""

import argparse
import importlib.util
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import here
import race
from contestants import CONTESTANTS, Contestant, Place

spec = importlib.util.spec_from_file_location("command", here.RACE / "__main__.py")
command = importlib.util.module_from_spec(spec)
spec.loader.exec_module(command)


def given(*arguments: str) -> argparse.Namespace:
    return command.parser().parse_args(arguments)


class Order(unittest.TestCase):
    def test_each_round_begins_with_another_contestant(self):
        runs = list(race.order(["a", "b", "c"], [10], 4))
        firsts = [next(name for round, _, name in runs if round == number) for number in range(4)]
        self.assertEqual(firsts, ["a", "b", "c", "a"])

    def test_each_round_runs_everything_once(self):
        runs = list(race.order(["a", "b"], [10, 50], 2))
        self.assertEqual(sorted(runs), sorted((r, c, n) for r in range(2) for c in (10, 50) for n in "ab"))


class Fitting(unittest.TestCase):
    def fits(self, domains: int, available: int) -> int:
        one = replace(CONTESTANTS["fastapi"], memory_over_file=2.0)
        with mock.patch.object(race, "file_bytes", return_value=1_000_000):
            return race.fitting(one, "half", domains, available)

    def test_all_domains_where_there_is_room(self):
        self.assertEqual(self.fits(50, 10**9), 50)

    def test_as_many_as_fit_otherwise_but_one_at_least(self):
        self.assertEqual(self.fits(1000, 10**9), 375)
        self.assertEqual(self.fits(1000, 1), 1)


class CommandLine(unittest.TestCase):
    def test_the_usual_contestants(self):
        self.assertEqual(list(command.chosen(given())), ["facet", "fastapi", "torch"])

    def test_flags_reach_the_service(self):
        flags = command.chosen(given("--peers", "facet", "--facet-args", "--lanes 1 --bank-dtype 'f16'"))
        self.assertEqual(self.command_of(flags["facet"])[-4:], ["--lanes", "1", "--bank-dtype", "f16"])

    def test_the_bank_has_room_for_all_packs_where_the_default_has_not(self):
        facet = CONTESTANTS["facet"]
        self.assertNotIn("--bank-memory", self.command_of(facet, size=10**6))
        self.assertEqual(self.command_of(facet, size=10**9)[-2:], ["--bank-memory", "2288MiB"])
        named = command.chosen(given("--facet-args", "--bank-memory 1GiB"))["facet"]
        self.assertEqual(self.command_of(named, size=10**9)[-2:], ["--bank-memory", "1GiB"])

    def command_of(self, contestant: Contestant, size: int = 0) -> list[str]:
        """The command of a contestant that is given one file of so many bytes."""
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            with (here / "d0000.safetensors").open("wb") as file:
                file.truncate(size)
            return contestant.command(Place(8080, "half", here, here, here, here))

    def test_a_variant_is_one_more_contestant(self):
        found = command.chosen(given("--peers", "facet,fastapi", "--variant", "f16=--bank-dtype f16"))
        self.assertEqual(list(found), ["facet", "fastapi", "f16"])
        self.assertEqual(found["f16"].what, "facet serve --bank-dtype f16")

    def test_the_tolerance_is_that_of_ours(self):
        found = command.chosen(given("--variant", "f16=--bank-dtype f16", "--tolerance", "0.01"))
        self.assertEqual([found[name].tolerance for name in ("facet", "f16", "fastapi")], [0.01, 0.01, 1e-5])

    def test_a_variant_runs_where_it_is_named(self):
        found = command.chosen(given("--peers", "f16,facet", "--variant", "f16=--bank-dtype f16"))
        self.assertEqual(list(found), ["f16", "facet"])

    def test_what_cannot_be_is_refused_by_name(self):
        for arguments, message in (
            (("--peers", "facet,flask"), "No contestant is called flask"),
            (("--variant", "facet=--lanes 1"), "give a name that no contestant has"),
            (("--variant", "--lanes 1"), "give a name that no contestant has"),
        ):
            with self.subTest(arguments), self.assertRaisesRegex(SystemExit, message):
                command.chosen(given(*arguments))

    def test_numbers_of_domains(self):
        self.assertEqual(command.counts_of(given("--domains", "10,1000")), [10, 1000])
        self.assertEqual(command.counts_of(given()), [10, 50])
        for text in ("ten", "0", "10,", "-1"):
            with self.subTest(text), self.assertRaisesRegex(SystemExit, "whole numbers from 1 on"):
                command.counts_of(given(f"--domains={text}"))


if __name__ == "__main__":
    unittest.main()
