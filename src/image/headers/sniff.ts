/** Tells image formats apart by their first bytes. */
import { kindOf } from '../../bytes/file-kind.js'
import { FacetError } from '../../errors.js'

export type ImageType = 'jpeg' | 'png' | 'webp' | 'gif' | 'avif' | 'tiff'

/**
 * Formats that people send and that are not supported, so that the refusal can name them: bytes at an offset.
 */
const unsupported: readonly [name: string, offset: number, magic: string][] = [
  ['HEIC', 4, 'ftyphe'],
  ['HEIF', 4, 'ftypm'],
  ['JPEG XL', 4, 'JXL '],
  ['JPEG XL', 0, '\xff\x0a'],
  ['JPEG 2000', 4, 'jP  '],
  ['PDF', 0, '%PDF-'],
  ['BMP', 0, 'BM'],
  ['PSD', 0, '8BPS'],
]

/**
 * The image's format by its first bytes, whatever its name or content type says; null for anything else.
 * What follows these bytes may still be damaged.
 */
export function sniffImage(bytes: Uint8Array): ImageType | null {
  const head = latin1(bytes, 64)
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg'
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png'
  if (/^RIFF....WEBP/s.test(head)) return 'webp'
  if (/^GIF8[79]a/.test(head)) return 'gif'
  // ISO base media: the box's size, `ftyp`, then fields of four bytes: a brand, a version, further brands.
  if (/^.{4}ftyp(.{4})*avi[fs]/s.test(head)) return 'avif'
  if (['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(head.slice(0, 4))) return 'tiff'
  return null
}

/** The refusal of bytes that `sniffImage` does not know. */
export function unknownFormat(bytes: Uint8Array): FacetError {
  const message = `${found(bytes)}; JPEG, PNG, WebP, GIF, AVIF and TIFF are supported.`
  return new FacetError('unsupported_media_type', message)
}

function found(bytes: Uint8Array): string {
  const head = latin1(bytes, 1024)
  const image = head.includes('<svg')
    ? 'SVG'
    : unsupported.find(([, offset, magic]) => head.startsWith(magic, offset))?.[0]
  if (image !== undefined) return `The image is ${image}`
  const { kind, name } = kindOf(bytes)
  if (kind === 'safetensors')
    return 'The bytes are a safetensors file, such as a pack, and no image (packs go to PUT /v1/domains/{domain})'
  if (name === 'a JSON text')
    return 'The bytes are a JSON text, which is read with Content-Type: application/json'
  return name === '' ? 'The bytes are not a known image format' : `The bytes are ${name}, and no image`
}

function latin1(bytes: Uint8Array, most: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, most)).toString('latin1')
}
