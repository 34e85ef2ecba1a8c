"""
Packs and dedicated networks. Needs the race's environment (`npm run race -- --setup`):
`bench/race/.work/venv-fastapi/bin/python -m unittest discover -s bench/race/tests`.
"""

import unittest

import here

try:
    import numpy as np
    import onnxruntime

    import packs
    from dedicated import Family
except ImportError as missing:
    raise unittest.SkipTest(f"{missing}; run this with the race's environment") from missing

REPOSITORY = here.RACE.parents[1]
FAMILY = REPOSITORY / "models" / "resnet26-half"
PACKS = REPOSITORY / "adapters" / "resnet26-half"


def golden() -> dict[str, np.ndarray]:
    """Pixels, and PyTorch's logits for them by `logits.<domain>` (training/golden.py)."""
    raw = (REPOSITORY / "test" / "fixtures" / "golden" / "resnet26-half.safetensors").read_bytes()
    header, begin = packs.split(raw)
    header.pop("__metadata__")
    start, end = header.pop("pixels")["data_offsets"]
    pixels = np.frombuffer(raw, np.uint8, end - start, begin + start).reshape(4, 64, 64, 3)
    return {"pixels": pixels, **{name: packs.tensor(raw, begin, entry) for name, entry in header.items()}}


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


class Dedicated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.family, cls.golden = Family(FAMILY), golden()
        cls.base = packs.read_pack(FAMILY / "base.safetensors")

    def scores(self, network: bytes) -> np.ndarray:
        session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        return session.run(None, {"pixels": self.golden["pixels"]})[0]

    def test_a_merged_network_answers_as_pytorch_does(self):
        for domain in ("eurosat", "fashion_mnist", "sign_digits"):
            with self.subTest(domain):
                pack = packs.over_base(self.base, packs.read_pack(PACKS / f"{domain}.safetensors"))
                difference = np.abs(self.scores(self.family.merge(pack)) - softmax(self.golden[f"logits.{domain}"])).max()
                self.assertLess(difference, 1e-5)

    def test_slots_that_a_pack_leaves_out_are_the_bases(self):
        whole = packs.read_pack(PACKS / "eurosat.safetensors")
        head = {name: value for name, value in whole.tensors.items() if name.startswith("head.")}
        scores = self.scores(self.family.merge(packs.over_base(self.base, packs.Pack(whole.metadata, head))))
        self.assertGreater(np.abs(scores - softmax(self.golden["logits.eurosat"])).max(), 0.01)

    def test_nothing_of_the_adapter_is_left_to_compute(self):
        import onnx

        pack = packs.over_base(self.base, packs.read_pack(PACKS / "eurosat.safetensors"))
        nodes = onnx.load_from_string(self.family.merge(pack)).graph.node
        convs = [slot for slot in self.family.manifest["slots"] if slot["kind"] == "conv"]
        self.assertEqual(sum(node.op_type == "Conv" for node in nodes), len(convs))


class Noise(unittest.TestCase):
    def test_only_matrices_and_head_change_and_by_little(self):
        raw = (PACKS / "eurosat.safetensors").read_bytes()
        noisy = packs.with_noise(raw, 5)
        header, begin = packs.split(raw)
        header.pop("__metadata__")
        self.assertEqual(noisy[:begin], raw[:begin])
        for name, entry in header.items():
            before, after = (packs.tensor(one, begin, entry).astype(np.float32) for one in (raw, noisy))
            if name.endswith(".matrix") or name.startswith("head."):
                self.assertGreater(np.abs(after - before).max(), 0, name)
                self.assertLess(np.abs(after - before).max(), 0.15 * np.abs(before).max(), name)
            else:
                np.testing.assert_array_equal(after, before, name)

    def test_each_seed_makes_another_domain(self):
        raw = (PACKS / "eurosat.safetensors").read_bytes()
        self.assertEqual(packs.with_noise(raw, 1), packs.with_noise(raw, 1))
        self.assertNotEqual(packs.with_noise(raw, 1), packs.with_noise(raw, 2))


if __name__ == "__main__":
    unittest.main()
