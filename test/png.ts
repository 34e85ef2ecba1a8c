/** Makes a PNG by hand, with any size in its header and any data. */
import { crc32 } from 'node:zlib'

/**
 * @param data the deflated rows, each with its filter byte
 * @param kind bits a sample and colour type; 8-bit grey unless told
 */
export function drawPng(
  width: number,
  height: number,
  data: Uint8Array,
  kind: readonly [bits: number, colour: number] = [8, 0],
): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set(kind, 8)
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', new Uint8Array()),
  ])
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  const check = Buffer.alloc(4)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, check])
}
