/**
 * The images of a request's input tensor.
 *
 * BYTES are encoded images, which others decode. UINT8 and FP32 are pixels, RGB from 0 to 255, of the size of the
 * network's input: `[N, H, W, 3]` or `[N, 3, H, W]`. All work is in steps, because a body has megabytes.
 */
import type { Steps } from '../concurrency/turns.js'
import { FacetError } from '../errors.js'
import type { ImageSize } from '../predict/predictor.js'
import { JsonError } from '../strict/json-error.js'
import { JsonText, parseJsonSteps } from '../strict/json.js'
import { type InferenceRequest, type InputTensor, malformed } from './request.js'
import { FLOAT_BYTES, pixelsOfFloats, pixelsOfText } from './values.js'

/** One image of a request. */
export interface TensorImage {
  /** `file`: the bytes of an image file. `base64`: their digits, in UTF-8. `pixels`: `[height, width, 3]`. */
  form: 'file' | 'base64' | 'pixels'
  bytes: Uint8Array
}

const CHANNELS = 3
const LENGTH_BYTES = 4

/**
 * @param size of the network's input
 * @param maxImages of one request
 * @throws FacetError `malformed_request`; `too_many_parts`; `empty_body` for an image without bytes
 */
export function* imagesOf(
  input: InferenceRequest['input'],
  size: ImageSize,
  maxImages: number,
): Steps<TensorImage[]> {
  if (input instanceof Uint8Array) return [{ form: 'file', bytes: notEmpty(input, 0) }]
  return yield* input.datatype === 'BYTES' ? elements(input, maxImages) : pixels(input, size, maxImages)
}

function* elements({ shape, data }: InputTensor, maxImages: number): Steps<TensorImage[]> {
  const [count = 0, ...rest] = shape
  if (shape.length === 0 || rest.some((dimension) => dimension !== 1))
    throw malformed(`BYTES have the shape [N]: an image file for each element. It is [${shape}].`)
  checkCount(count, maxImages)
  if (!(data instanceof JsonText)) return binaryElements(data, count)
  const texts = yield* parsedTexts(data, count)
  if (texts.length !== count)
    throw malformed(`The shape says ${count} elements, and the data has ${texts.length}.`)
  return texts.map((text, index) => {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    if (bytes instanceof Uint8Array) return { form: 'base64', bytes: notEmpty(bytes, index) }
    throw new FacetError('malformed_request', 'The image is not a base64 string.', { index })
  })
}

/** Strings of more than so many bytes stay bytes. */
const MAX_TEXT_BYTES = 1024

function* parsedTexts({ bytes }: JsonText, count: number): Steps<unknown[]> {
  try {
    const options = { maxDepth: 1, maxValues: count + 1, textBytes: MAX_TEXT_BYTES }
    const { value } = yield* parseJsonSteps(bytes, options)
    return value as unknown[]
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw new FacetError(
      'malformed_request',
      `The data of BYTES must be ${count} strings: ${error.message}.`,
      {
        cause: error,
      },
    )
  }
}

/** Each with its length before it, four bytes, little-endian. */
function binaryElements(data: Uint8Array, count: number): TensorImage[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const images: TensorImage[] = []
  let at = 0
  while (at < data.length) {
    const index = images.length
    if (index === count) throw malformed(`The shape says ${count} elements, and the data has more.`)
    const start = at + LENGTH_BYTES
    const end = start <= data.length ? start + view.getUint32(at, true) : Number.POSITIVE_INFINITY
    if (end > data.length)
      throw new FacetError('malformed_request', 'The binary data ends within this element.', { index })
    images.push({ form: 'file', bytes: notEmpty(data.subarray(start, end), index) })
    at = end
  }
  if (images.length < count)
    throw malformed(`The shape says ${count} elements, and the data has ${images.length}.`)
  return images
}

function* pixels(input: InputTensor, size: ImageSize, maxImages: number): Steps<TensorImage[]> {
  const { count, planes } = layoutOf(input, size)
  checkCount(count, maxImages)
  const length = size.height * size.width * CHANNELS
  const values = yield* valuesOf(input, count * length)
  const images: TensorImage[] = []
  for (let index = 0; index < count; index++) {
    const own = values.subarray(index * length, (index + 1) * length)
    images.push({ form: 'pixels', bytes: planes ? interleaved(own) : own })
    yield
  }
  return images
}

/** `planes`: the channels of an image come one after the other. */
function layoutOf({ shape }: InputTensor, { height, width }: ImageSize): { count: number; planes: boolean } {
  const [count = 0, ...image] = shape
  const is = (...wanted: number[]) => image.join() === wanted.join()
  if (is(height, width, CHANNELS)) return { count, planes: false }
  if (is(CHANNELS, height, width)) return { count, planes: true }
  throw malformed(
    `Pixels have the shape [N, ${height}, ${width}, 3] or [N, 3, ${height}, ${width}]; it is [${shape}]. An image of another size is sent as a file (BYTES).`,
  )
}

function checkCount(count: number, maxImages: number): void {
  if (count === 0) throw new FacetError('empty_body', 'The input has no images.')
  if (count > maxImages)
    throw new FacetError(
      'too_many_parts',
      `The input has ${count} images, more than ${maxImages} (--max-images).`,
    )
}

/** Bytes of UINT8 in a binary body are the body's own. */
function* valuesOf({ datatype, data }: InputTensor, count: number): Steps<Uint8Array> {
  if (data instanceof JsonText) return yield* pixelsOfText(data.bytes, count, datatype === 'UINT8')
  const expected = count * (datatype === 'FP32' ? FLOAT_BYTES : 1)
  if (data.length !== expected)
    throw malformed(`The shape takes ${expected} bytes of ${datatype}; 'binary_data_size' is ${data.length}.`)
  return datatype === 'FP32' ? yield* pixelsOfFloats(data) : data
}

function interleaved(planes: Uint8Array): Uint8Array {
  const area = planes.length / CHANNELS
  const pixels = new Uint8Array(planes.length)
  for (let channel = 0; channel < CHANNELS; channel++)
    for (let at = 0; at < area; at++) pixels[at * CHANNELS + channel] = planes[channel * area + at]!
  return pixels
}

function notEmpty(bytes: Uint8Array, index: number): Uint8Array {
  if (bytes.length > 0) return bytes
  throw new FacetError('empty_body', 'The image has no bytes.', { index })
}
