/** Numbers as the boxes of an AVIF and the tags of a colour profile store them. */

export function u16(value: number): Buffer {
  return Buffer.from([(value >> 8) & 255, value & 255])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
