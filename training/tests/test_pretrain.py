"""Pretraining from a folder of images to the files that the other commands read, stopped on the way and resumed."""
import json
import sys
import tempfile
import unittest
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))
import loop
import network as net
import pretrain

torch.set_num_threads(1)
CLASSES, IMAGES, WIDTH, SIDE = 3, 4, 0.125, 32


def make_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", IMAGES), ("val", 1)):
        for c in range(CLASSES):
            for i in range(n):
                path = folder / pretrain.SOURCE.archive / split / f"class{c}" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (72, 80, 3), dtype=np.uint8)).save(path)


class Pretrain(unittest.TestCase):
    def test_a_run_stopped_and_resumed_writes_a_trunk_as_safetensors_and_onnx(self):
        with tempfile.TemporaryDirectory() as folder:
            make_images(Path(folder))
            trunks = {}
            for name, stops in (("unbroken", ()), ("resumed", (1, 2))):
                out = Path(folder) / name
                command = ["--data", folder, "--out", str(out), "--width", str(WIDTH), "--epochs", "2", "--batch", "6",
                           "--schedule", f"{SIDE}:1", "--precision", "fp32", "--device", "cpu"]
                for stop in stops:
                    with mock.patch.object(loop, "fit", partial(loop.fit, stop_after=stop)), self.assertRaises(SystemExit):
                        pretrain.main(command)
                    self.assertFalse(out.with_suffix(".safetensors").exists())
                pretrain.main(command)
                trunks[name] = load_file(out.with_suffix(".safetensors"))
            for key, tensor in trunks["unbroken"].items():
                torch.testing.assert_close(trunks["resumed"][key], tensor, rtol=0, atol=0, msg=key)

            self.assertEqual(net.trunk_width(trunks["resumed"]), WIDTH)
            network = net.ResNet26(7, WIDTH, "parallel")
            network.load_trunk(trunks["resumed"])
            graph = onnx.load(str(out.with_suffix(".onnx")))
            onnx.checker.check_model(graph)
            operators = [n.op_type for n in graph.graph.node]
            self.assertEqual((operators.count("Conv"), operators.count("BatchNormalization")), (25, 26))
            side = [d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim][1:]
            self.assertEqual((graph.graph.input[0].name, side), ("image", [3, SIDE, SIDE]))
            weights = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
            self.assertTrue(np.array_equal(weights["stem.conv.weight"], trunks["resumed"]["stem.conv.weight"].numpy()))
            about = json.loads(out.with_suffix(".json").read_text())
            self.assertEqual((about["images"], len(about["labels"])), ({"train": CLASSES * IMAGES, "val": CLASSES}, CLASSES))


if __name__ == "__main__":
    unittest.main()
