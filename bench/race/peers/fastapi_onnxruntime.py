"""FastAPI and one dedicated onnxruntime session for each domain, at their best: fast, and as small as they get."""

import ctypes
import os

import onnxruntime as ort
import orjson

from images import decode
from service import Domains, application, best

#: `shared`: one arena for all sessions; `own`: one each, onnxruntime's default; `none`.
ARENA = os.environ.get("RACE_ARENA", "shared")
INTRA = int(os.environ.get("RACE_INTRA", "1"))
SPINNING = os.environ.get("RACE_SPINNING", "0")
TRIM = os.environ.get("RACE_TRIM", "1") == "1" and hasattr(ctypes.CDLL(None), "malloc_trim")
#: Sessions that are loaded before the heap is trimmed again, so that a thousand need no more at the start than later.
TRIM_EVERY = 16

if ARENA == "shared":
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(0, -1, -1, -1))


def trim() -> None:
    """What loading left in the heap goes back to the system: a quarter of all for fifty sessions."""
    if TRIM:
        ctypes.CDLL(None).malloc_trim(0)


def load(path: str) -> tuple[ort.InferenceSession, list[str]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = INTRA
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = ARENA != "none"
    options.add_session_config_entry("session.use_env_allocators", "1" if ARENA == "shared" else "0")
    options.add_session_config_entry("session.intra_op.allow_spinning", SPINNING)
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, orjson.loads(session.get_modelmeta().custom_metadata_map["labels"])


def answer(domain: str, jpeg: bytes) -> dict:
    session, labels = domains.get(domain)
    scores = session.run(None, {"pixels": decode(jpeg)[None]})[0][0]
    return best(domain, labels, scores)


domains = Domains(".onnx", load, TRIM_EVERY, trim)
app = application(answer)
