#!/usr/bin/env python3
"""Blanks device code in a CUDA shared library: other GPU architectures, and kernels that no convolutional network needs.

The file keeps its size and layout: only payloads inside `.nv_fatbin` are zeroed, so that the library compresses to a
tenth and still loads on the architecture kept.
usage: slim.py IN OUT SM      e.g. slim.py libx.so libx.slim.so 90      (needs: pip install zstandard)
"""
import struct
import sys
from collections import Counter

import zstandard

# Mixture-of-experts and attention kernels of ONNX Runtime's CUDA provider: 66 of its 72 MiB for one architecture.
UNNEEDED = (b"moe", b"flash", b"xqa", b"fmha")
FATBIN_MAGIC = 0xBA55ED50
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CUBIN = 2


def sections(data, name):
    """Start and length of each ELF section of this name."""
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count, strings = struct.unpack_from("<HHH", data, 0x3A)
    table = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    base = table[strings][4]
    for entry in table:
        at = base + entry[0]
        if data[at : data.index(b"\0", at)].decode() == name:
            yield entry[4], entry[5]


def needed(payload):
    if payload[:4] == ZSTD_MAGIC:
        payload = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    text = payload.lower()
    return not any(word in text for word in UNNEEDED)


def main(source, target, keep):
    with open(source, "rb") as file:
        data = bytearray(file.read())
    kept, blanked = Counter(), Counter()
    for start, length in sections(data, ".nv_fatbin"):
        at, end = start, start + length
        while at < end - 16:
            magic, _, header, size = struct.unpack_from("<IHHQ", data, at)
            if magic != FATBIN_MAGIC:
                at += 8
                continue
            entry, stop = at + header, at + header + size
            while entry < stop:
                kind, _, head, body = struct.unpack_from("<HHIQ", data, entry)
                (arch,) = struct.unpack_from("<I", data, entry + 28)
                payload = bytes(data[entry + head : entry + head + body])
                if kind == CUBIN and arch == int(keep) and needed(payload):
                    kept[arch] += body
                else:
                    data[entry + head : entry + head + body] = bytes(body)
                    blanked[arch] += body
                entry += head + body
            at = stop
    with open(target, "wb") as file:
        file.write(data)
    mib = lambda counts: {arch: round(size / 2**20, 1) for arch, size in sorted(counts.items())}
    print("MiB kept, by architecture:", mib(kept), "blanked:", mib(blanked))


main(*sys.argv[1:])
