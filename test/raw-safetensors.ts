/**
 * Makes safetensors files that a writer would refuse: the header is given as text, and any bytes may follow
 * it.
 */

/** A safetensors file from its parts. `length` is written as the header's length instead of the real one. */
export function rawFile(
  header: string | Uint8Array,
  data: Uint8Array | number = 0,
  length?: bigint,
): Uint8Array {
  const head = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const body = typeof data === 'number' ? new Uint8Array(data) : data
  const file = new Uint8Array(8 + head.length + body.length)
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(head.length), true)
  file.set(head, 8)
  file.set(body, 8 + head.length)
  return file
}

/** The header and data of a valid file. */
export function openFile(bytes: Uint8Array): { header: string; data: Uint8Array } {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  return {
    header: new TextDecoder().decode(bytes.subarray(8, 8 + length)),
    data: bytes.subarray(8 + length),
  }
}
