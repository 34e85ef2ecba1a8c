/** What was given where something else is needed: a pack for an image, an image for a pack, a file of another kind. */
import t from 'tap'
import { kindOf } from '../src/bytes/file-kind.js'
import { unknownFormat } from '../src/image/headers/sniff.js'
import { readPack, readPackInfo } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { tinyFamily, tinyPack } from './families.js'

const bytes = (text: string, ...more: number[]) =>
  Buffer.concat([Buffer.from(text, 'latin1'), Buffer.from(more)])
const family = tinyFamily()
const pack = writePack(tinyPack(family), family, { dtype: 'f32' })

const kinds: [string, Buffer][] = [
  ['a JPEG image', bytes('\xff\xd8\xff\xe0', 0, 16)],
  ['a PNG image', bytes('\x89PNG\r\n\x1a\n')],
  ['a GIF image', bytes('GIF89a')],
  ['a WebP image', bytes('RIFF\0\0\0\0WEBPVP8 ')],
  ['a TIFF image', bytes('II*\0', 8, 0, 0, 0)],
  ['an AVIF or HEIC image', bytes('\0\0\0\x20ftypavif')],
  ['a Python pickle, such as a PyTorch checkpoint', bytes('\x80\x02}q\0')],
  ['a zip archive, such as a PyTorch checkpoint', bytes('PK\x03\x04')],
  ['an ONNX model', bytes('\x08\x07\x12\x07pytorch')],
  ['a GGUF model', bytes('GGUF', 3, 0, 0, 0)],
  ['a TensorFlow Lite model', bytes('\x1c\0\0\0TFL3')],
  ['an HDF5 file, such as a Keras model', bytes('\x89HDF\r\n\x1a\n')],
  ['a NumPy array', bytes('\x93NUMPY', 1, 0)],
  ['a gzip archive', bytes('\x1f\x8b', 8)],
  ['a data: URL', bytes('data:image/png;base64,iVBORw0KGgo=')],
  ['an image in base64', bytes('/9j/4AAQSkZJRg==')],
  ['an image in base64', bytes('iVBORw0KGgoAAAANSUhEUg==')],
  ['a JSON text', bytes('{"images": []}')],
  ['a web page or an XML text', bytes('<!doctype html>')],
  ['a Git LFS pointer and not the file itself (git lfs pull fetches it)', bytes('version https://git-lfs')],
  ['a safetensors file', Buffer.from(pack)],
]

t.test('files are recognised by their first bytes', async (t) => {
  for (const [name, given] of kinds) t.equal(kindOf(given).name, name)
  t.equal(kindOf(Buffer.from('hello, world')).name, '')
  t.equal(kindOf(Buffer.from([0x80, 0x02, 0, 0, 0, 0, 0, 0, 0x20])).name, '', 'a torn pack is no pickle')
})

t.test('what is given as a pack and is none is called by its name', async (t) => {
  for (const [name, given] of kinds) {
    if (name === 'a safetensors file') continue
    for (const read of [() => readPack(given, family), () => readPackInfo(given)]) {
      const problem = `the bytes are ${name}, and a pack is a safetensors file`
      t.throws(read, { code: 'invalid_pack', message: `Not a pack: ${problem}.`, problems: [problem] }, name)
    }
  }
})

t.test('what is given as an image and is none is called by its name', async (t) => {
  const image = / image$|PNG|JPEG/
  for (const [name, given] of kinds) {
    if (image.test(name)) continue
    const { code, message } = unknownFormat(given)
    t.equal(code, 'unsupported_media_type')
    t.ok(message.startsWith(`The bytes are ${name}`), message)
    t.match(message, /JPEG, PNG, WebP, GIF, AVIF and TIFF are supported\.$/)
  }
  t.match(unknownFormat(Buffer.from(pack)).message, /such as a pack.*PUT \/v1\/domains\/\{domain\}/)
  t.match(unknownFormat(bytes('{"images": []}')).message, /Content-Type: application\/json/)
  t.match(unknownFormat(bytes('%PDF-1.7')).message, /^The image is PDF/)
})

t.test("a pack of another family has one cause, and its tensors' names are none", async (t) => {
  const other = tinyFamily('series', 'other')
  const slots = other.slots.map((slot) => ({ ...slot, name: `other.${slot.name}` }))
  const foreign = { ...other, slots, fingerprint: 'f'.repeat(64) }
  const theirs = writePack({ ...tinyPack(foreign), family: foreign.fingerprint }, foreign, { dtype: 'f32' })
  t.throws(() => readPack(theirs, family), {
    code: 'invalid_pack',
    message:
      /^Not a valid pack: family is "f{64}", but this is family "tiny".*another family, whose backbone, slots, matrices, design or input differ\. Train it for this one, or serve its own$/,
    problems: [/another family/],
  })
})
