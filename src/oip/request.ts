/**
 * An inference request as JSON: what it asks for, checked. Its tensor's data is left as it came, for `tensors.ts`.
 *
 * What a client may ask of other servers, and this one has nothing for, is ignored, as the protocol has it of
 * parameters. What contradicts the model is refused by its name.
 */
import { FacetError } from '../errors.js'
import { quoted } from '../shown-text.js'
import { JsonText } from '../strict/json.js'
import { INPUT, type OutputName } from './model.js'

/** The key of a tensor's data: long arrays, which are passed over when a request is parsed. */
export const DATA_KEY = 'data'

const datatypes = ['BYTES', 'UINT8', 'FP32'] as const
export type Datatype = (typeof datatypes)[number]

/** The one input of a request. */
export interface InputTensor {
  datatype: Datatype
  shape: readonly number[]
  /** The JSON array, or the binary data. */
  data: JsonText | Uint8Array
}

/** An output that is asked for. */
export interface WantedOutput {
  name: OutputName
  /** As binary data behind the JSON. */
  binary: boolean
  /** Of scores: so many best classes instead, with their labels. */
  classes: number | undefined
}

export interface InferenceRequest {
  id: string | undefined
  /** Bytes where they are an image file, and nothing was said of a tensor. */
  input: InputTensor | Uint8Array
  outputs: readonly WantedOutput[]
  /** Milliseconds that the request may take, where it says so. */
  timeoutMs: number | undefined
}

/** Dimensions of a tensor at most. */
const MAX_RANK = 8

type Fields = Record<string, unknown>

/**
 * @param json the request as plain objects; a tensor's data as `JsonText`
 * @param binary what follows the JSON in the body; undefined where the whole body is JSON
 * @param listed the output that the model lists
 * @throws FacetError `malformed_request` that names the member
 */
export function readRequest(
  json: unknown,
  binary: Uint8Array | undefined,
  listed: OutputName,
): InferenceRequest {
  const request = fieldsOf(json, 'The request')
  const parameters = parametersOf(request, 'parameters')
  const inputs = listOf(request.inputs, 'inputs')
  if (inputs.length !== 1)
    throw malformed(`'inputs' must have one tensor, '${INPUT}'; it has ${inputs.length}.`)
  return {
    id: idOf(request.id),
    input: inputOf(fieldsOf(inputs[0], "'inputs[0]'"), binary),
    outputs: outputsOf(request.outputs, flag(parameters, 'binary_data_output') ?? false, listed),
    timeoutMs: timeoutOf(parameters),
  }
}

/** The request that a body is which is an image and nothing else. */
export function oneImage(bytes: Uint8Array, listed: OutputName): InferenceRequest {
  return { id: undefined, input: bytes, outputs: outputsOf([], false, listed), timeoutMs: undefined }
}

function idOf(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined
  if (typeof id !== 'string') throw malformed("'id' must be a string of at most 1024 bytes.")
  return id
}

/** Triton's `timeout`, which is in microseconds; 0 for none. */
function timeoutOf({ timeout }: Fields): number | undefined {
  if (timeout === undefined || timeout === 0) return undefined
  if (isCount(timeout)) return timeout / 1000
  throw malformed("The parameter 'timeout' must be a whole number of microseconds.")
}

function inputOf(tensor: Fields, binary: Uint8Array | undefined): InputTensor {
  const { name, datatype, shape, data } = tensor
  if (name !== INPUT) throw malformed(`The model's input is '${INPUT}', not ${shown(name)}.`)
  if (!isOneOf(datatypes, datatype))
    throw malformed(`The datatype of '${INPUT}' may be ${datatypes.join(', ')}; it is ${shown(datatype)}.`)
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isCount))
    throw malformed(`The shape of '${INPUT}' must be a list of up to ${MAX_RANK} whole numbers.`)
  const parameters = parametersOf(tensor, 'inputs[0].parameters')
  return { datatype, shape, data: dataOf(data, parameters, binary) }
}

function dataOf(data: unknown, parameters: Fields, binary: Uint8Array | undefined): JsonText | Uint8Array {
  const { binary_data_size: size, shared_memory_region: region } = parameters
  if (region !== undefined) throw malformed('Shared memory is not supported; send the data in the request.')
  if (size === undefined) {
    if (data instanceof JsonText) {
      if (binary === undefined || binary.length === 0) return data
      throw malformed(
        `${binary.length} bytes follow the JSON, and no 'binary_data_size' says of which input.`,
      )
    }
    throw malformed(`'${INPUT}' must have 'data', a list, or the parameter 'binary_data_size'.`)
  }
  if (data !== undefined) throw malformed(`'${INPUT}' has both 'data' and 'binary_data_size'.`)
  if (binary === undefined)
    throw malformed("Where there is binary data, Inference-Header-Content-Length gives the JSON's length.")
  if (size !== binary.length)
    throw malformed(`'binary_data_size' is ${shown(size)}, and ${binary.length} bytes follow the JSON.`)
  return binary
}

function outputsOf(list: unknown, binaryByDefault: boolean, listed: OutputName): WantedOutput[] {
  const wanted = list === undefined || list === null ? [] : listOf(list, 'outputs')
  if (wanted.length === 0) return [{ name: listed, binary: binaryByDefault, classes: undefined }]
  const names: readonly OutputName[] = listed === 'scores' ? ['scores', 'features'] : ['features']
  const outputs = wanted.map((entry, index) => {
    const where = `outputs[${index}]`
    const output = fieldsOf(entry, `'${where}'`)
    const parameters = parametersOf(output, `${where}.parameters`)
    const { name } = output
    if (!isOneOf(names, name))
      throw malformed(`The model has the output ${names.join(', and on request ')}, not ${shown(name)}.`)
    return {
      name,
      binary: flag(parameters, 'binary_data') ?? binaryByDefault,
      classes: classesOf(parameters, name),
    }
  })
  if (new Set(outputs.map(({ name }) => name)).size < outputs.length)
    throw malformed('An output is asked for more than once.')
  return outputs
}

/** The classification extension; 0 is for none. */
function classesOf({ classification }: Fields, name: OutputName): number | undefined {
  if (classification === undefined || classification === 0) return undefined
  if (name !== 'scores')
    throw malformed(`'${name}' has no classes: leave out the parameter 'classification'.`)
  if (isCount(classification)) return classification
  throw malformed("The parameter 'classification' must be a whole number of classes.")
}

function flag(parameters: Fields, name: string): boolean | undefined {
  const value = parameters[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw malformed(`The parameter '${name}' must be true or false.`)
}

export function parametersOf(fields: Fields, where: string): Fields {
  const { parameters } = fields
  return parameters === undefined || parameters === null ? {} : fieldsOf(parameters, `'${where}'`)
}

export function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value))
    return value as Fields
  throw malformed(`${what} must be an object.`)
}

function listOf(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value
  throw malformed(`'${name}' must be a list.`)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isOneOf<Item extends string>(items: readonly Item[], value: unknown): value is Item {
  return items.includes(value as Item)
}

function shown(value: unknown): string {
  return typeof value === 'string' ? quoted(value) : value === undefined ? 'nothing' : 'something else'
}

export function malformed(message: string): FacetError {
  return new FacetError('malformed_request', message)
}
