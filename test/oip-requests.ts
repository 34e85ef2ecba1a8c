/** Requests and answers of the Open Inference Protocol with binary data, made and read as its clients do. */

/** A tensor of a request; `binary` goes behind the JSON. */
export interface Tensor {
  name?: string
  datatype: string
  shape: number[]
  data?: unknown
  binary?: Uint8Array
  parameters?: object
}

/** A request whose tensors may have binary data, to be sent with its header fields. */
export function inference(tensor: Tensor, rest: object = {}) {
  const { binary, name = 'image', ...fields } = tensor
  const size = binary && { parameters: { binary_data_size: binary.length, ...fields.parameters } }
  const json = Buffer.from(JSON.stringify({ inputs: [{ name, ...fields, ...size }], ...rest }))
  if (binary === undefined) return { headers: { 'content-type': 'application/json' }, payload: json }
  const headers = {
    'content-type': 'application/octet-stream',
    'inference-header-content-length': String(json.length),
  }
  return { headers, payload: Buffer.concat([json, binary]) }
}

/** Elements of BYTES: each with its length before it. */
export function bytesTensor(...elements: Uint8Array[]): Buffer {
  return Buffer.concat(
    elements.flatMap((element) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(element.length)
      return [length, element]
    }),
  )
}

export function floats(values: Iterable<number>): Buffer {
  return Buffer.from(Float32Array.from(values).buffer)
}

/** An output of an answer: its numbers, or its texts. */
export interface Output {
  name: string
  datatype: string
  shape: number[]
  data: (number | string)[]
}

export interface Answer {
  model_name: string
  model_version: string
  id?: string
  outputs: Output[]
}

/** Reads an answer as tritonclient does: binary data by its size, in the order of the outputs. */
export function readAnswer(body: Buffer, headerLength: string | undefined): Answer {
  if (headerLength === undefined) return JSON.parse(body.toString())
  const length = Number(headerLength)
  const answer = JSON.parse(body.subarray(0, length).toString())
  let at = length
  for (const output of answer.outputs) {
    const size = output.parameters?.binary_data_size
    if (size === undefined) continue
    output.data = valuesOf(output.datatype, Buffer.from(body.subarray(at, at + size)))
    delete output.parameters
    at += size
  }
  if (at !== body.length) throw new Error(`${body.length - at} bytes are of no output`)
  return answer
}

function valuesOf(datatype: string, bytes: Buffer): (number | string)[] {
  if (datatype === 'FP32')
    return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index))
  const texts: string[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at)
    texts.push(bytes.toString('utf8', at + 4, end))
    at = end
  }
  return texts
}
