"""Both clients against a running service (`FACET_CLIENT_URL`) that serves resnet26-half."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import unittest
from pathlib import Path

import httpx

from facet_client import ApiProblem, AsyncClient, Client, Unreachable

ROOT = Path(__file__).resolve().parents[3]
URL = os.environ.get("FACET_CLIENT_URL", "http://127.0.0.1:8080")
RIVER = ROOT / "samples/eurosat/River.jpg"
FOREST = ROOT / "samples/eurosat/Forest.jpg"
PACKS = ROOT / "adapters/resnet26-half"


class AgainstTheService(unittest.TestCase):
    def setUp(self) -> None:
        self.facet = Client(URL)
        self.addCleanup(self.facet.close)

    def test_predicts_one_image_several_and_several_domains(self) -> None:
        [one] = self.facet.predict("eurosat", RIVER, top_k=2)
        self.assertEqual([one["domain"], one["predictions"][0]["label"]], ["eurosat", "River"])
        self.assertEqual(len(one["predictions"]), 2)
        several = self.facet.predict("eurosat", [RIVER, FOREST.read_bytes()])
        self.assertEqual([result["predictions"][0]["label"] for result in several], ["River", "Forest"])
        mixed = self.facet.predict_mixed([("cifar100", RIVER), ("eurosat", str(FOREST))], top_k=1)
        self.assertEqual([result["domain"] for result in mixed], ["cifar100", "eurosat"])

    def test_embeds(self) -> None:
        [embedding] = self.facet.embed("eurosat", RIVER)
        self.assertEqual(len(embedding["features"]), self.facet.family()["features"])

    def test_manages_a_domain(self) -> None:
        facet, name = self.facet, "python-client"
        first = facet.put(name, PACKS / "eurosat.safetensors", create=True)
        self.addCleanup(facet.remove, name)
        with self.assertRaises(ApiProblem) as refused:
            facet.put(name, PACKS / "eurosat.safetensors", create=True)
        self.assertEqual((refused.exception.status, refused.exception.code), (412, "precondition_failed"))
        second = facet.put(name, (PACKS / "gtsrb.safetensors").read_bytes(), activate=False)
        self.assertEqual(second["version"], first["uploaded"])
        active = facet.activate(name, second["uploaded"][:12], if_version=first["uploaded"])
        self.assertEqual(active["version"], second["uploaded"])
        self.assertTrue(facet.pin(name)["pinned"])
        self.assertFalse(facet.pin(name, False)["pinned"])
        card = facet.domain(name)["card"]
        self.assertTrue(card and card["labels"] and len(card["labels"]) == 43)
        self.assertTrue(facet.card(name).startswith("# "))
        version, pack = facet.pack(name, version=first["uploaded"][:8])
        self.assertEqual((version, pack), (first["uploaded"], (PACKS / "eurosat.safetensors").read_bytes()))
        facet.remove(name, version=first["uploaded"])
        self.assertIn(name, [domain["domain"] for domain in facet.domains()])

    def test_families(self) -> None:
        [family] = self.facet.families()["families"]
        self.assertEqual(self.facet.family(family["name"])["fingerprint"], family["fingerprint"])

    def test_problems(self) -> None:
        with self.assertRaises(ApiProblem) as unknown:
            self.facet.domain("nothing/here")
        self.assertEqual(unknown.exception.code, "bad_domain_id")
        with self.assertRaises(ApiProblem) as junk:
            self.facet.predict("eurosat", [RIVER, b"junk"])
        self.assertEqual((junk.exception.status, junk.exception.index), (415, 1))
        self.assertTrue(junk.exception.request_id)

    def test_the_asynchronous_client_does_the_same(self) -> None:
        async def work() -> None:
            async with AsyncClient(URL) as facet:
                results = await asyncio.gather(*[facet.predict("eurosat", RIVER) for _ in range(4)])
                self.assertEqual({result["predictions"][0]["label"] for [result] in results}, {"River"})
                [embedding] = await facet.embed("eurosat", [RIVER])
                self.assertTrue(embedding["features"])
                self.assertIn("eurosat", [domain["domain"] async for domain in facet.domains()])
                with self.assertRaises(ApiProblem):
                    await facet.domain("nothing")

        asyncio.run(work())

    def test_the_example(self) -> None:
        example = ROOT / "clients/python/examples/many.py"
        words = [sys.executable, str(example), "eurosat", str(ROOT / "samples/eurosat")]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "FACET_CLIENT_URL": URL})
        self.assertIn(f"{RIVER} River\n", done.stdout)


class Retries(unittest.TestCase):
    def client(self, *answers: httpx.Response | Exception, retries: int = 3) -> tuple[Client, list[str]]:
        asked: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            given = answers[min(len(asked), len(answers)) - 1]
            if isinstance(given, Exception):
                raise given
            return httpx.Response(given.status_code, headers=given.headers, content=given.content)

        facet = Client("http://test", token="secret", retries=retries, transport=httpx.MockTransport(answer))
        self.addCleanup(facet.close)
        return facet, asked

    def test_a_full_service_is_asked_again(self) -> None:
        full = httpx.Response(429, headers={"retry-after": "0"}, json={"code": "queue_full", "detail": "Full."})
        facet, asked = self.client(full, full, httpx.Response(200, text="# card"))
        self.assertEqual(facet.card("x"), "# card")
        self.assertEqual(len(asked), 3)
        facet, asked = self.client(full)
        with self.assertRaises(ApiProblem) as given_up:
            facet.card("x")
        self.assertEqual((len(asked), given_up.exception.code), (4, "queue_full"))

    def test_what_will_not_succeed_later_is_asked_once(self) -> None:
        facet, asked = self.client(httpx.Response(500, text="<html>"))
        with self.assertRaises(ApiProblem) as failed:
            facet.card("x")
        self.assertEqual((len(asked), failed.exception.code), (1, "unknown"))

    def test_no_answer(self) -> None:
        facet, asked = self.client(httpx.ConnectError("refused"), retries=0)
        with self.assertRaises(Unreachable):
            facet.families()
        self.assertEqual(asked, ["/v1/families"])


if __name__ == "__main__":
    unittest.main()
