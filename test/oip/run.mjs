/**
 * Holds a running server against the Open Inference Protocol, case by case (README.md). Needs Node alone, so that it can
 * be run against any server.
 */
import { readFileSync } from 'node:fs'

const jsonType = { 'content-type': 'application/json' }
const files = ['server', 'models', 'inference', 'binary', 'classification', 'repository']

/**
 * @typedef {{images?: number, binary?: boolean, nested?: boolean, id?: string, outputs?: object[], parameters?: object,
 *   set?: Record<string, unknown>, header?: string}} Infer
 * @typedef {{says: string, extension?: string, get?: string, post?: string, body?: unknown, infer?: Infer,
 *   changes?: boolean, status: number | string, json?: unknown, outputs?: {datatype: string, shape: (number | string)[]}[],
 *   like?: string}} Case
 * @typedef {{url: string, model: string, version: string, input: string, output: string, datatype: string,
 *   dims: number[], length: number, extensions: string[], headers: Record<string, string>}} Server
 * @typedef {{name: string, datatype: string, shape: number[], data: (number | string)[]}} Output
 */

/** @returns {Case[]} all of them, in the order in which they are to be run */
export function readCases() {
  return files.flatMap((name) =>
    JSON.parse(readFileSync(new URL(`./cases/${name}.json`, import.meta.url), 'utf8')),
  )
}

/**
 * What the cases need to know of the server and the model.
 * @param {string} url
 * @param {string} model
 * @param {string} [token]
 * @returns {Promise<Server>}
 */
export async function aboutServer(url, model, token) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  /** @param {string} path */
  const get = async (path) => {
    const answer = await fetch(url + path, { headers })
    if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${await answer.text()}`)
    return /** @type {any} */ (await answer.json())
  }
  const { extensions } = await get('/v2')
  const { inputs, outputs, versions } = await get(`/v2/models/${model}`)
  return {
    url,
    model,
    version: versions[0],
    input: inputs[0].name,
    output: outputs[0].name,
    datatype: inputs[0].datatype,
    dims: inputs[0].shape.slice(1),
    length: outputs[0].shape.at(-1),
    extensions,
    headers,
  }
}

/**
 * Asks the server, and compares.
 * @param {Server} server
 * @param {Case} line
 * @returns {Promise<string[]>} what is wrong with the answer; empty where nothing is
 */
export async function check(server, line) {
  const filled = /** @type {Case} */ (fill(line, server))
  const { get, post, infer, body, status } = filled
  const request = infer ? inference(server, infer) : { headers: jsonType, body: textOf(body) }
  const answer = await fetch(server.url + (get ?? post), {
    method: get === undefined ? 'POST' : 'GET',
    headers: { ...request.headers, ...server.headers },
    ...(get === undefined && request.body !== undefined && { body: request.body }),
  })
  const bytes = Buffer.from(await answer.arrayBuffer())
  const right = typeof status === 'number' ? answer.status === status : /^4\d\d$/.test(String(answer.status))
  if (!right) return [`status ${answer.status}, not ${status}: ${bytes.toString().slice(0, 300)}`]
  if (filled.json === undefined && filled.outputs === undefined) return []
  const length = Number(answer.headers.get('inference-header-content-length') ?? bytes.length)
  const json = JSON.parse(bytes.toString('utf8', 0, length))
  return [
    ...(filled.json === undefined ? [] : differences('$', filled.json, json)),
    ...(filled.outputs === undefined ? [] : outputProblems(server, filled, json, bytes.subarray(length))),
  ]
}

/** @param {unknown} body */
function textOf(body) {
  return body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
}

/**
 * The case with the names of the model in it.
 * @param {unknown} value
 * @param {Server} server
 * @returns {unknown}
 */
function fill(value, server) {
  if (typeof value === 'string')
    return value.replace(/\$\{(model|version|input|output)\}/g, (_, name) =>
      String(server[/** @type {'model'} */ (name)]),
    )
  if (Array.isArray(value)) return value.map((item) => fill(item, server))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, server)]))
  return value
}

/**
 * @param {Server} server
 * @param {Infer} wanted
 * @returns {{headers: Record<string, string>, body: Buffer}}
 */
function inference(server, { images = 1, binary = false, nested = false, set, header, ...rest }) {
  const { input: name, datatype, dims } = server
  const shape = [images, ...dims]
  const values = Array.from(
    { length: shape.reduce((product, size) => product * size) },
    (_, index) => index % 256,
  )
  const data = datatype === 'UINT8' ? Buffer.from(values) : Buffer.from(Float32Array.from(values).buffer)
  const carried = binary
    ? { parameters: { binary_data_size: data.length } }
    : { data: nested ? nest(values, shape) : values }
  const json = Buffer.from(
    JSON.stringify({ inputs: [{ name, datatype, shape, ...carried, ...set }], ...rest }),
  )
  if (!binary) return { headers: jsonType, body: json }
  const headers = {
    'content-type': 'application/octet-stream',
    'inference-header-content-length': header ?? String(json.length),
  }
  return { headers, body: Buffer.concat([json, data]) }
}

/**
 * @param {unknown[]} values
 * @param {number[]} shape
 * @returns {unknown[]}
 */
function nest(values, shape) {
  if (shape.length <= 1) return values
  const size = values.length / /** @type {number} */ (shape[0])
  return Array.from({ length: /** @type {number} */ (shape[0]) }, (_, index) =>
    nest(values.slice(index * size, (index + 1) * size), shape.slice(1)),
  )
}

/**
 * @param {string} where
 * @param {unknown} wanted
 * @param {unknown} found
 * @returns {string[]}
 */
function differences(where, wanted, found) {
  const wrong = [`${where} is ${JSON.stringify(found)?.slice(0, 100)}, not ${JSON.stringify(wanted)}`]
  if (wanted === '$any') return []
  if (wanted === '$string') return typeof found === 'string' && found !== '' ? [] : wrong
  if (wanted === '$number') return typeof found === 'number' ? [] : wrong
  if (wanted === '$list') return Array.isArray(found) ? [] : wrong
  if (typeof wanted !== 'object' || wanted === null) return found === wanted ? [] : wrong
  if (typeof found !== 'object' || found === null) return wrong
  return Object.entries(wanted).flatMap(([key, item]) =>
    differences(`${where}.${key}`, item, /** @type {Record<string, unknown>} */ (found)[key]),
  )
}

/**
 * @param {Server} server
 * @param {Case} line
 * @param {{outputs: (Output & {parameters?: {binary_data_size?: number}})[]}} json
 * @param {Buffer} binary
 */
function outputProblems({ length }, { outputs = [], like }, json, binary) {
  const problems = []
  let at = 0
  for (const [index, wanted] of outputs.entries()) {
    const output = json.outputs[index]
    if (output === undefined) return [`there is no output ${index}`]
    const size = output.parameters?.binary_data_size
    const data = size === undefined ? output.data : valuesOf(output.datatype, binary.subarray(at, at + size))
    at += size ?? 0
    const shape = wanted.shape.map((dimension) => (dimension === '$length' ? length : Number(dimension)))
    problems.push(...differences(`$.outputs.${index}`, { datatype: wanted.datatype, shape }, output))
    const count = shape.reduce((product, dimension) => product * dimension)
    if (data.flat(8).length !== count)
      problems.push(`output ${index} has ${data.length} values, not ${count}`)
    if (wanted.datatype === 'FP32' && !data.flat(8).every(Number.isFinite))
      problems.push('not all are numbers')
    const pattern = new RegExp(like ?? '')
    for (const text of index === 0 && like !== undefined ? data : [])
      if (!pattern.test(String(text))) problems.push(`${JSON.stringify(text)} is not like ${like}`)
  }
  if (at !== binary.length) problems.push(`${binary.length - at} bytes belong to no output`)
  return problems
}

/**
 * @param {string} datatype
 * @param {Buffer} bytes
 * @returns {(number | string)[]}
 */
function valuesOf(datatype, bytes) {
  if (datatype === 'FP32')
    return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index))
  const texts = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at)
    texts.push(bytes.toString('utf8', at + 4, end))
    at = end
  }
  return texts
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const words = process.argv.slice(2).filter((word) => word !== '--read-only')
  const [url, model, token] = words
  if (url === undefined || model === undefined) {
    console.error('usage: node test/oip/run.mjs [--read-only] <url> <model> [token]')
    process.exit(2)
  }
  const server = await aboutServer(url.replace(/\/$/, ''), model, token)
  const counts = { held: 0, failed: 0, skipped: 0 }
  for (const line of readCases()) {
    const skips =
      (line.extension !== undefined && !server.extensions.includes(line.extension)) ||
      (line.changes === true && process.argv.includes('--read-only'))
    const problems = skips ? [] : await check(server, line)
    counts[skips ? 'skipped' : problems.length > 0 ? 'failed' : 'held']++
    console.log(`${skips ? 'skip' : problems.length > 0 ? 'FAIL' : 'ok  '} ${line.says}`)
    for (const problem of problems) console.log(`       ${problem}`)
  }
  console.log(JSON.stringify({ server: url, model, ...counts }))
  process.exit(counts.failed > 0 ? 1 : 0)
}
