"""Where matrices are: the words of --slots, networks with matrices at some slots, and a list chosen by what removals cost."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import allocate
import network as net
import slots

WIDTH = 0.125
torch.set_num_threads(1)


class Choice(unittest.TestCase):
    def test_thirds_of_the_papers_network_are_its_stages(self):
        self.assertEqual(slots.chosen("early", net.SLOT_NAMES), ["stem.conv", *(f"blocks.{i}.c{c}.conv" for i in range(4) for c in (1, 2))])
        self.assertEqual(slots.chosen("middle", net.SLOT_NAMES), [f"blocks.{i}.c{c}.conv" for i in range(4, 8) for c in (1, 2)])
        self.assertEqual(slots.chosen("late", net.SLOT_NAMES), [f"blocks.{i}.c{c}.conv" for i in range(8, 12) for c in (1, 2)])

    def test_thirds_of_any_number_have_every_slot_once(self):
        for n, sizes in ((1, [1, 0, 0]), (2, [1, 1, 0]), (4, [2, 1, 1]), (5, [2, 2, 1]), (6, [2, 2, 2])):
            names = [f"s{i}" for i in range(n)]
            parts = slots.thirds(names)
            self.assertEqual([len(parts[word]) for word in slots.WORDS], sizes)
            self.assertEqual([name for word in slots.WORDS for name in parts[word]], names)

    def test_words_and_patterns_choose_what_they_choose_in_the_family_builder(self):
        choices = json.loads((Path(__file__).parents[2] / "test" / "fixtures" / "slot-choices.json").read_text())
        self.assertEqual(choices[0]["slots"], net.SLOT_NAMES)
        for choice in choices:
            for text, names in choice["chosen"].items():
                with self.subTest(text=text, slots=len(choice["slots"])):
                    self.assertEqual(slots.chosen(text, choice["slots"]), names)

    def test_words_are_joined_and_patterns_searched_in_forward_order(self):
        names = ["a.1", "a.2", "b.1", "b.2", "c.1", "c.2"]
        self.assertEqual(slots.chosen("late+early", names), ["a.1", "a.2", "c.1", "c.2"])
        self.assertEqual(slots.chosen(r"\.2$", names), ["a.2", "b.2", "c.2"])

    def test_a_file_names_slots_and_is_refused_where_it_names_others(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "list.txt"
            path.write_text("# why\nb\n\na\n")
            self.assertEqual(slots.chosen(str(path), ["a", "b", "c"]), ["a", "b"])
            path.write_text("a\nz\n")
            with self.assertRaisesRegex(ValueError, "take no matrix here: z; known are a, b"):
                slots.chosen(str(path), ["a", "b"])
        for bad, said in (("nothing", "chooses no slot"), ("early(", "nor a regular expression")):
            with self.assertRaisesRegex(ValueError, said):
                slots.chosen(bad, ["a", "b"])


class Networks(unittest.TestCase):
    def test_other_slots_keep_scale_and_bias_only(self):
        where = slots.chosen("early+late", net.SLOT_NAMES)
        for design in net.MATRIX_DESIGNS:
            folded = net.fold(net.ResNet26(3, WIDTH, design, init="he", matrices=where))
            self.assertEqual([k[:-len(".matrix")] for k in folded if k.endswith(".matrix")], where)
            self.assertTrue(all(f"{name}.scale" in folded and f"{name}.bias" in folded for name in net.SLOT_NAMES))
        with self.assertRaisesRegex(ValueError, "has no matrices"):
            net.ResNet26(3, WIDTH, "bn", matrices=where)

    def test_parameters_of_the_stages_are_the_papers(self):
        counts = {word: net.parameter_counts(net.ResNet26(3, 1.0, "parallel", matrices=slots.chosen(word, net.SLOT_NAMES)))["matrices"]
                  for word in slots.WORDS}
        self.assertEqual(counts, {"early": 30_816, "middle": 122_880, "late": 491_520})


class Lists(unittest.TestCase):
    costs, parameters = {"a": 4.0, "b": 1.0, "c": 6.0, "d": -0.5}, {"a": 1, "b": 10, "c": 4, "d": 100}

    def loss_without(self, removed):
        together = 5.0 if {"a", "c"} <= set(removed) else 0.0  # each can stand in for the other
        return 10 + sum(self.costs[name] for name in removed) + together

    def test_what_costs_least_a_parameter_goes_first_and_costs_are_measured_again(self):
        order = allocate.removal_order(list("abcd"), self.parameters, self.loss_without)
        self.assertEqual(order, [("d", 9.5), ("b", 10.5), ("c", 16.5), ("a", 25.5)])

    def test_a_budget_is_filled_from_the_dearest(self):
        order = ["d", "b", "c", "a"]
        self.assertEqual([allocate.kept(order, self.parameters, budget) for budget in (0, 4, 5, 11, 115)], [[], ["a"], ["a", "c"], ["a", "c"], ["a", "c", "b", "d"]])
        self.assertEqual(allocate.kept(order, self.parameters, 12), ["a", "c"])

    def test_measuring_leaves_the_network_as_it_was_and_counts_what_is_removed(self):
        torch.manual_seed(0)
        network = net.ResNet26(3, WIDTH, "parallel", init="he")
        before = {k: v.clone() for k, v in network.state_dict().items()}
        images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
        whole, without = (allocate.held_out_loss(network, images, targets, removed) for removed in ([], ["blocks.3.c1.conv"]))
        self.assertNotEqual(whole, without)
        self.assertEqual(list(before), list(network.state_dict()))
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        network.slots()["blocks.3.c1.conv"].adapter.weight.data.zero_()
        self.assertAlmostEqual(allocate.held_out_loss(network, images, targets, []), without, places=5)


if __name__ == "__main__":
    unittest.main()
