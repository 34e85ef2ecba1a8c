"""A client that openapi-python-client has generated of the service's own description predicts, embeds and manages."""

import sys
from io import BytesIO
from pathlib import Path

from facet_generated import Client
from facet_generated.api.domains import delete_domain, get_domain, list_domains, put_domain
from facet_generated.api.operations import get_family
from facet_generated.api.predict import embed, predict, predict_mixed
from facet_generated.models import ImageForm, MixedForm, PackForm
from facet_generated.types import File

ROOT = Path(__file__).resolve().parents[2]
RIVER = ROOT / "samples/eurosat/River.jpg"
PACK = ROOT / "adapters/resnet26-half/eurosat.safetensors"

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)


def image():
    return File(payload=BytesIO(RIVER.read_bytes()), file_name="River.jpg", mime_type="image/jpeg")


def top(answer):
    return [result.predictions[0].label for result in answer.results]


one = predict.sync("eurosat", client=client, body=image(), top_k=3)
assert top(one) == ["River"] and len(one.results[0].predictions) == 3, one

form = ImageForm()
form["a.jpg"] = image()
form["b.jpg"] = image()
assert top(predict.sync("eurosat", client=client, body=form)) == ["River", "River"]

mixed = MixedForm()
mixed["eurosat"] = image()
mixed["cifar100"] = image()
assert [result.domain for result in predict_mixed.sync(client=client, body=mixed).results] == ["eurosat", "cifar100"]

family = get_family.sync(client=client)
features = embed.sync("eurosat", client=client, body=image()).results[0].features
assert len(features) == family.features, features

assert get_domain.sync("eurosat", client=client).card.labels[8] == "River"
page = list_domains.sync(client=client, limit=3)
assert len(page.domains) == 3 and page.next_cursor

pack = File(payload=BytesIO(PACK.read_bytes()), file_name="pack.safetensors")
uploaded = put_domain.sync("fields", client=client, body=pack)
assert uploaded.domain == "fields" and uploaded.classes == 10, uploaded
assert put_domain.sync("fields", client=client, body=PackForm(pack=pack)).uploaded == uploaded.uploaded
assert delete_domain.sync_detailed("fields", client=client).status_code == 204

problem = get_domain.sync("fields", client=client)
assert problem.code == "unknown_domain" and problem.status == 404, problem
print("The generated client predicts, embeds, lists, registers and deletes.")
