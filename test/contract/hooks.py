"""What schemathesis sends where a schema can only say "bytes": images that the service reads, a pack, and junk."""

from pathlib import Path

import schemathesis
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
IMAGES = [path.read_bytes() for path in sorted(ROOT.glob("samples/*/*")) if path.suffix in (".jpg", ".png")][:8]
PACKS = [path.read_bytes() for path in sorted(ROOT.glob("adapters/resnet26-half/*.safetensors"))[:3]]

images = st.sampled_from(IMAGES) | st.binary(min_size=1, max_size=64)
# The same type is a pack's and an image's; what it is not for, the service refuses.
bytes_of_any_kind = st.sampled_from(IMAGES + PACKS) | st.binary(min_size=1, max_size=64)

for name in ("image/*", "image/jpeg", "image/png", "image/gif", "image/webp"):
    schemathesis.openapi.media_type(name, images)
schemathesis.openapi.media_type("application/octet-stream", bytes_of_any_kind)
schemathesis.openapi.format("binary", bytes_of_any_kind)

PARAMETERS = {"top_k", "version"}


def is_sound(case):
    """False for requests that are wrong by rules beyond a schema: a form without an image, or with a parameter that the
    query has too. And for a value of If-Match that this version of schemathesis takes for one ("0")."""
    for field in ("If-Match", "If-None-Match"):
        if (case.headers or {}).get(field) == "0":
            return False
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict) or case.method == "PUT":
        return True
    fields = PARAMETERS & case.body.keys()
    return len(fields) < len(case.body) and not fields & (case.query or {}).keys()


@schemathesis.hook
def filter_case(context, case):
    return is_sound(case)


@schemathesis.hook
def before_add_examples(context, examples):
    examples[:] = filter(is_sound, examples)
