/**
 * Recognises by its first bytes what a user gave where something else is needed, so that the message can say
 * what it is.
 */

type Kind = 'onnx' | 'safetensors' | 'empty' | 'other'

interface Known {
  kind: Kind
  /** `an ONNX model`, for messages. */
  name: string
  matches(bytes: Uint8Array): boolean
}

const starts = (...prefix: number[]) => {
  return (bytes: Uint8Array) => prefix.every((value, at) => bytes[at] === value)
}
const text = (prefix: string) => starts(...Buffer.from(prefix))
const textAt = (offset: number, magic: string) => {
  return (bytes: Uint8Array) => text(magic)(bytes.subarray(offset))
}
/** What base64 of the signatures of JPEG, PNG, GIF and RIFF begins with. */
const imageInBase64 = ['/9j/', 'iVBORw0KGgo', 'R0lGOD', 'UklGR'].map(text)

const known: readonly Known[] = [
  { kind: 'empty', name: 'an empty file', matches: ({ length }) => length === 0 },
  {
    kind: 'other',
    name: 'a Git LFS pointer and not the file itself (git lfs pull fetches it)',
    matches: text('version https://git-lfs'),
  },
  { kind: 'safetensors', name: 'a safetensors file', matches: isSafetensors },
  // A protobuf whose field 1 is the IR version. Field 2 (producer name), 7 (graph) or 8 (operator sets)
  // follows it.
  {
    kind: 'onnx',
    name: 'an ONNX model',
    matches: ([first, version, next]) =>
      first === 0x08 && version! < 64 && [0x12, 0x3a, 0x42].includes(next!),
  },
  { kind: 'other', name: 'a zip archive, such as a PyTorch checkpoint', matches: text('PK\u0003\u0004') },
  {
    kind: 'other',
    name: 'a Python pickle, such as a PyTorch checkpoint',
    matches: ([first, version, next]) => first === 0x80 && version! >= 2 && version! <= 5 && next !== 0,
  },
  { kind: 'other', name: 'a GGUF model', matches: text('GGUF') },
  { kind: 'other', name: 'a TensorFlow Lite model', matches: textAt(4, 'TFL3') },
  {
    kind: 'other',
    name: 'an HDF5 file, such as a Keras model',
    matches: starts(0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a),
  },
  { kind: 'other', name: 'a NumPy array', matches: starts(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59) },
  { kind: 'other', name: 'a gzip archive', matches: starts(0x1f, 0x8b) },
  { kind: 'other', name: 'a JPEG image', matches: starts(0xff, 0xd8, 0xff) },
  { kind: 'other', name: 'a PNG image', matches: starts(0x89, 0x50, 0x4e, 0x47) },
  { kind: 'other', name: 'a GIF image', matches: text('GIF8') },
  {
    kind: 'other',
    name: 'a WebP image',
    matches: (bytes) => text('RIFF')(bytes) && textAt(8, 'WEBP')(bytes),
  },
  { kind: 'other', name: 'an AVIF or HEIC image', matches: textAt(4, 'ftyp') },
  {
    kind: 'other',
    name: 'a TIFF image',
    matches: (bytes) => [text('II*\0'), text('MM\0*')].some((is) => is(bytes)),
  },
  { kind: 'other', name: 'a PDF document', matches: text('%PDF-') },
  { kind: 'other', name: 'a data: URL', matches: text('data:') },
  {
    kind: 'other',
    name: 'an image in base64',
    matches: (bytes) => imageInBase64.some((is) => is(bytes)),
  },
  { kind: 'other', name: 'a JSON text', matches: text('{') },
  { kind: 'other', name: 'a web page or an XML text', matches: text('<') },
]

/**
 * The kind of a file, and its name for messages: `other` with an empty name for a file that is not
 * recognised.
 */
export function kindOf(bytes: Uint8Array): { kind: Kind; name: string } {
  return known.find(({ matches }) => matches(bytes)) ?? { kind: 'other', name: '' }
}

/** True if the bytes begin with a plausible header length and the brace of a JSON header. */
function isSafetensors(bytes: Uint8Array): boolean {
  if (bytes.length < 10) return false
  const header = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  return header >= 2n && header < 2n ** 40n && bytes[8] === 0x7b
}
