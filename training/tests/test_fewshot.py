"""Nearest class means, blended statistics and the leave-one-out score, each against its definition."""
import sys
import unittest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
import fewshot
import network as net

torch.set_num_threads(1)
WIDTH = 0.125


class Prototypes(unittest.TestCase):
    def test_the_loss_is_that_of_means_without_the_image_itself(self):
        torch.manual_seed(0)
        features, targets = torch.randn(7, 5), torch.tensor([0, 0, 3, 3, 3, 5, 0])  # the only image of class 5 is its own mean
        losses = []
        for n in range(len(features)):
            logits = []
            for c in (0, 3, 5):
                others = [i for i in range(len(features)) if targets[i] == c and (i != n or c == 5)]
                logits.append(fewshot.COSINE_SCALE * F.cosine_similarity(features[n], features[others].mean(0), dim=0))
            losses.append(F.cross_entropy(torch.stack(logits), torch.tensor([0, 3, 5].index(int(targets[n])))))
        torch.testing.assert_close(fewshot.prototype_loss(features, targets), torch.stack(losses).mean())

    def test_the_head_answers_the_nearest_mean(self):
        torch.manual_seed(1)
        features, targets, head = torch.randn(12, 6), torch.arange(12) % 4, torch.nn.Linear(6, 4)
        fewshot.set_prototype_head(head, features, targets)
        means = torch.stack([features[targets == c].mean(0) for c in range(4)])
        others = 3 * torch.randn(40, 6)
        nearest = F.cosine_similarity(others[:, None], means[None], dim=2).argmax(1)
        self.assertTrue(torch.equal(head(others).argmax(1), nearest))

    def test_training_on_means_draws_classes_apart(self):
        torch.manual_seed(2)
        features, targets = torch.randn(12, 6, requires_grad=True), torch.arange(12) % 3
        before = fewshot.prototype_loss(features, targets)
        before.backward()
        self.assertLess(fewshot.prototype_loss(features.detach() - 0.5 * features.grad, targets), before)


class Statistics(unittest.TestCase):
    def network(self) -> net.ResNet26:
        torch.manual_seed(3)
        network = net.ResNet26(3, WIDTH, "parallel", init="he")
        for m in network.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.running_mean.normal_(std=0.3)
                m.running_var.uniform_(0.5, 2)
        return network

    def test_without_a_share_of_the_source_they_are_the_batchs_own(self):
        images, network = torch.randn(6, 3, 32, 32), self.network()
        with torch.no_grad():
            expected = network.train().features(images)
            network = self.network()
            fewshot.blend_statistics(network, images, 0.0)
            torch.testing.assert_close(network.eval().features(images), expected, rtol=1e-3, atol=1e-3)

    def test_the_share_is_that_of_the_number_of_images(self):
        images, network = torch.randn(6, 3, 32, 32), self.network()
        with torch.no_grad():
            seen, source = network.stem.conv(images) + network.stem.adapter(images), network.stem.bn.running_mean.clone()
            fewshot.blend_statistics(network, images, 18.0)
        torch.testing.assert_close(network.stem.bn.running_mean, 0.75 * source + 0.25 * seen.mean((0, 2, 3)))

    def test_blended_statistics_stay_as_they_are_in_training(self):
        images, network = torch.randn(6, 3, 32, 32), self.network()
        fewshot.blend_statistics(network, images, 6.0)
        before = network.bn.running_mean.clone()
        network.train().features(2 * images).sum().backward()
        self.assertTrue(torch.equal(network.bn.running_mean, before))
        self.assertTrue(network.bn.weight.grad.abs().sum() > 0)


class LeaveOneOut(unittest.TestCase):
    def test_equals_training_without_each_image(self):
        rng = np.random.default_rng(4)
        targets = np.arange(15) % 3
        for features in (rng.normal(size=(15, 4)) + targets[:, None], rng.normal(size=(15, 40)) + 0.2 * targets[:, None]):
            for strength in (0.5, 20.0):
                y, answers = np.eye(3)[targets], []
                for n in range(15):
                    rest = np.arange(15) != n
                    x, centre = features[rest], features[rest].mean(0)
                    x = x - centre
                    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (y[rest] - y[rest].mean(0)))
                    answers.append(y[rest].mean(0) + (features[n] - centre) @ weights)
                answers = np.array(answers)
                right, error = fewshot.ridge_left_out(features, y, strength)
                self.assertAlmostEqual(error, float(((y - answers) ** 2).mean()), places=9)
                self.assertAlmostEqual(right, 100 * float((answers.argmax(1) == targets).mean()), places=9)

    def test_the_largest_rate_that_fits_as_well_as_the_best(self):
        for scores, images, rate in (({0.1: 100.0, 0.4: 99.0, 1.6: 97.0}, 100, 0.4), ({0.1: 80.0, 0.4: 90.0, 1.6: 87.5}, 100, 1.6),
                                     ({0.1: 95.0, 0.4: 80.0}, 60, 0.1), ({0.1: 60.0, 0.4: 100.0}, 50, 0.4)):
            self.assertEqual(fewshot.largest_that_fits(scores, images), rate)

    def test_the_best_strength_counts(self):
        rng = np.random.default_rng(5)
        targets = np.arange(40) % 4
        features = rng.normal(size=(40, 8)) + 2 * np.eye(4, 8)[targets]
        x = (features - features.mean(0)) / features.std(0)
        each = [fewshot.ridge_left_out(x, np.eye(4)[targets], strength * 40)[0] for strength in fewshot.RIDGE_STRENGTHS]
        self.assertEqual(fewshot.leave_one_out(features, targets)[0], max(each))
        self.assertGreater(max(each), 50)


if __name__ == "__main__":
    unittest.main()
