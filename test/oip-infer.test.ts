/** Inference by `/v2`: every form of images and of answers. */
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { image, pack, sha256, testApp, type TestAppOptions } from './http-app.js'
import { bytesTensor, floats, inference, readAnswer, type Tensor } from './oip-requests.js'

/** Pixels of the test's network, 8 x 8: so many of value 1, of value 2, and the rest 7. */
function pixels(ones: number, twos = 0): Uint8Array {
  return new Uint8Array(8 * 8 * 3)
    .fill(7)
    .fill(1, 0, ones)
    .fill(2, ones, ones + twos)
}
/** What the trunk counts in them: features are the number of pixels of each value. */
const counts = (ones: number, twos = 0) => [0, ones, twos, 0, 0, 0, 0, 192 - ones - twos]

const url = '/v2/models/colours/infer'

async function asking(t: Test, options: TestAppOptions = {}) {
  const made = await testApp(t, { ...options, config: { maxBody: 65_536, ...options.config } })
  const ask = async (tensor: Tensor, rest: object = {}, path = url) =>
    answerOf(made.app, path, inference(tensor, rest))
  return { ...made, ask }
}

async function answerOf(app: FastifyInstance, path: string, request: { headers: object; payload: Buffer }) {
  const { headers, payload } = request
  const response = await app.inject({ method: 'POST', url: path, headers: { ...headers }, payload })
  const length = response.headers['inference-header-content-length'] as string | undefined
  if (response.statusCode !== 200)
    return { status: response.statusCode, error: response.json().error as string }
  return { status: 200, response, ...readAnswer(response.rawPayload, length) }
}

t.test('one image in every form gets the same answer', async (t) => {
  const { app, ask, domains } = await asking(t)
  const { version } = domains.get('colours')
  const bytes = pixels(100, 20)
  const planes = new Uint8Array(192)
  bytes.forEach((value, at) => {
    planes[(at % 3) * 64 + Math.floor(at / 3)] = value
  })
  const nested = (values: Uint8Array) =>
    [0, 1, 2, 3, 4, 5, 6, 7].map((row) =>
      [0, 1, 2, 3, 4, 5, 6, 7].map((column) => [...values.subarray(3 * (8 * row + column)).subarray(0, 3)]),
    )
  const nhwc = [1, 8, 8, 3]
  const nchw = [1, 3, 8, 8]
  const file = image(...bytes)
  const forms: Record<string, Tensor> = {
    'UINT8, JSON': { datatype: 'UINT8', shape: nhwc, data: [...bytes] },
    'UINT8, nested JSON': { datatype: 'UINT8', shape: nhwc, data: [nested(bytes)] },
    'FP32, JSON': { datatype: 'FP32', shape: nhwc, data: [...bytes].map((value) => value + 0.25) },
    'FP32, JSON, planes': { datatype: 'FP32', shape: nchw, data: [...planes] },
    'UINT8, binary': { datatype: 'UINT8', shape: nhwc, binary: bytes },
    'UINT8, binary, planes': { datatype: 'UINT8', shape: nchw, binary: planes },
    'FP32, binary': { datatype: 'FP32', shape: nhwc, binary: floats(bytes) },
    'FP32, binary, planes': { datatype: 'FP32', shape: nchw, binary: floats(planes) },
    'BYTES, base64': { datatype: 'BYTES', shape: [1], data: [file.toString('base64')] },
    'BYTES, binary': { datatype: 'BYTES', shape: [1, 1], binary: bytesTensor(file) },
  }
  const features = { outputs: [{ name: 'features' }] }
  for (const [form, tensor] of Object.entries(forms)) {
    const answer = await ask(tensor, features)
    t.match(answer, { status: 200, model_name: 'colours', model_version: version }, form)
    const output = { name: 'features', datatype: 'FP32', shape: [1, 8], data: counts(100, 20) }
    t.strictSame('outputs' in answer && answer.outputs, [output], form)
  }
  for (const headers of [
    { 'content-type': 'image/jpeg' },
    { 'content-type': 'application/octet-stream', 'inference-header-content-length': '0' },
    { 'content-type': 'application/octet-stream' },
    {},
  ]) {
    const answer = await answerOf(app, `${url.replace('/infer', ':features/infer')}`, {
      headers,
      payload: file,
    })
    t.match(answer, { status: 200, outputs: [{ data: counts(100, 20) }] }, JSON.stringify(headers))
  }
})

t.test('scores are the answer unless another is asked for, and keep the order of the images', async (t) => {
  const { ask } = await asking(t)
  const both = Buffer.concat([pixels(3), pixels(0, 90)])
  const answer = await ask({ datatype: 'UINT8', shape: [2, 8, 8, 3], binary: both }, { id: 'mine' })
  t.match(answer, { id: 'mine', outputs: [{ name: 'scores', datatype: 'FP32', shape: [2, 3] }] })
  if (!('outputs' in answer)) return
  t.match(answer.response.headers, {
    'content-type': /^application\/json/,
    'server-timing': /^decode;dur=[\d.]+, queue;dur=[\d.]+, inference;dur=2/,
  })
  const [red, green, blue, ...second] = answer.outputs[0]!.data as number[]
  t.ok(Math.abs(red! + green! + blue! - 1) < 1e-6)
  t.ok(green! > red! && second[2]! > 0.999, `${answer.outputs[0]!.data}`)
})

t.test('binary answers hold the numbers of the JSON ones', async (t) => {
  const { ask } = await asking(t)
  const tensor = {
    datatype: 'UINT8',
    shape: [2, 8, 8, 3],
    binary: Buffer.concat([pixels(2, 1), pixels(1, 3)]),
  }
  const outputs = [{ name: 'scores' }, { name: 'features' }]
  const json = await ask(tensor, { outputs })
  const binary = [
    await ask(tensor, { outputs, parameters: { binary_data_output: true } }),
    await ask(tensor, {
      outputs: outputs.map((output) => ({ ...output, parameters: { binary_data: true } })),
    }),
    await ask(tensor, {
      outputs: [outputs[0], { name: 'features', parameters: { binary_data: false } }],
      parameters: { binary_data_output: true },
    }),
  ]
  if (!('outputs' in json)) return t.fail('no outputs')
  const rounded = (answer: typeof json) =>
    answer.outputs.map((output) => ({
      ...output,
      data: output.data.map((value) => Math.fround(Number(value))),
    }))
  for (const answer of binary) {
    t.ok('response' in answer && answer.response.headers['inference-header-content-length'])
    t.strictSame('outputs' in answer && rounded(answer as typeof json), rounded(json))
  }
  const none = await ask(tensor, { parameters: { binary_data_output: true } })
  t.strictSame('outputs' in none && rounded(none as typeof json), rounded(json).slice(0, 1))
})

t.test('classes are score, index and label, best first', async (t) => {
  const { ask, domains } = await asking(t)
  await domains.put('odd', pack(['a', 'b:c', 'ß']), { activate: true })
  const tensor = {
    datatype: 'UINT8',
    shape: [2, 8, 8, 3],
    binary: Buffer.concat([pixels(5, 2), pixels(0, 4)]),
  }
  for (const binary of [true, false]) {
    const outputs = [{ name: 'scores', parameters: { classification: 2, binary_data: binary } }]
    const answer = await ask(tensor, { outputs }, '/v2/models/odd/infer')
    t.match(answer, { outputs: [{ name: 'scores', datatype: 'BYTES', shape: [2, 2] }] })
    const texts = 'outputs' in answer ? (answer.outputs[0]!.data as string[]) : []
    t.strictSame(
      texts.map((text) => text.replace(/^[\d.e-]+:/, '')),
      ['1:b:c', '2:ß', '2:ß', '0:a'],
    )
    t.ok(Number(texts[0]!.split(':')[0]) > 0.9)
  }
  const all = await ask(tensor, { outputs: [{ name: 'scores', parameters: { classification: 100 } }] })
  t.match(all, { outputs: [{ shape: [2, 3] }] })
})

t.test('a version is asked for by its name, and a domain without classifier for its features', async (t) => {
  const { ask, domains } = await asking(t)
  await domains.put('bare', pack(null), { activate: true })
  const staged = await domains.put('colours', pack(['one']), { activate: false })
  const tensor = { datatype: 'UINT8', shape: [1, 8, 8, 3], binary: pixels(1) }
  const named = await ask(tensor, {}, `/v2/models/colours/versions/${staged.version.slice(0, 9)}/infer`)
  t.match(named, { model_version: staged.version, outputs: [{ shape: [1, 1], data: [1] }] })
  t.match(await ask(tensor, {}, '/v2/models/bare:features/infer'), {
    model_name: 'bare:features',
    outputs: [{ name: 'features', shape: [1, 8] }],
  })
  t.match(await ask(tensor, {}, '/v2/models/bare/infer'), { status: 404, error: /has no classifier/ })
  const missing = `/v2/models/colours/versions/${sha256('nothing')}/infer`
  t.match(await ask(tensor, {}, missing), { status: 404, error: /no version/ })
})

t.test('what clients may send and this service has no use for is ignored', async (t) => {
  const { ask } = await asking(t)
  const tensor = {
    datatype: 'UINT8',
    shape: [1, 8, 8, 3],
    binary: pixels(1),
    parameters: { content_type: 'np' },
  }
  const rest = {
    id: null,
    model_name: 'other',
    parameters: { priority: 1, sequence_id: 7, sequence_start: true, custom: 'x', timeout: 9_000_000 },
    outputs: [{ name: 'scores', parameters: { colour: 'red', classification: 0 } }],
  }
  t.match(await ask(tensor, rest), { status: 200, outputs: [{ datatype: 'FP32' }] })
})

t.test('a request that contradicts itself or the model is refused, and says why', async (t) => {
  const { app, ask } = await asking(t, { config: { maxImages: 2 } })
  const good = { datatype: 'UINT8', shape: [1, 8, 8, 3], binary: pixels(1) }
  const text = (fields: object): Tensor => ({ datatype: 'UINT8', shape: [1, 8, 8, 3], ...fields })
  const cases: [tensor: Tensor, rest: object, status: number, error: RegExp][] = [
    [{ ...good, name: 'input' }, {}, 400, /input is 'image', not "input"/],
    [{ ...good, datatype: 'INT64' }, {}, 400, /datatype/],
    [{ ...good, shape: [1, 3, 8, 9] }, {}, 400, /\[N, 8, 8, 3\]/],
    [{ ...good, shape: [8, 8, 3] }, {}, 400, /\[N, 8, 8, 3\]/],
    [{ ...good, shape: [-1, 8, 8, 3] }, {}, 400, /whole numbers/],
    [{ ...good, shape: [0, 8, 8, 3] }, {}, 400, /no images/],
    [{ ...good, shape: [3, 8, 8, 3] }, {}, 413, /3 images, more than 2/],
    [{ ...good, shape: [2, 8, 8, 3] }, {}, 400, /takes 384 bytes/],
    [{ ...good, datatype: 'FP32' }, {}, 400, /takes 768 bytes/],
    [{ ...good, parameters: { binary_data_size: 5 } }, {}, 400, /192 bytes follow/],
    [{ ...good, parameters: { shared_memory_region: 'a' } }, {}, 400, /Shared memory/],
    [{ ...good, data: [1] }, {}, 400, /both/],
    [good, { outputs: [{ name: 'probabilities' }] }, 400, /scores, and on request features, not/],
    [good, { outputs: [{ name: 'scores' }, { name: 'scores' }] }, 400, /more than once/],
    [good, { outputs: [{ name: 'features', parameters: { classification: 1 } }] }, 400, /no classes/],
    [good, { outputs: [{ name: 'scores', parameters: { classification: -1 } }] }, 400, /whole number/],
    [good, { outputs: [{ name: 'scores', parameters: { binary_data: 'yes' } }] }, 400, /true or false/],
    [good, { outputs: 'scores' }, 400, /must be a list/],
    [good, { id: 7 }, 400, /'id'/],
    [good, { parameters: { timeout: 'soon' } }, 400, /timeout/],
    [text({}), {}, 400, /must have 'data'/],
    [text({ data: [1, 2, 3] }), {}, 400, /fewer than 192/],
    [text({ data: [...pixels(1), 1] }), {}, 400, /one more/],
    [text({ data: [...pixels(1).subarray(1), 0.5] }), {}, 400, /not whole/],
    [text({ data: [...pixels(1).subarray(1), 256] }), {}, 400, /is 256\. Pixels are RGB from 0 to 255/],
    [text({ data: [...pixels(1).subarray(1), 'x'] }), {}, 400, /expected a number/],
    [text({ data: [[...pixels(1).subarray(1)], 1] }), {}, 400, /uneven/],
    [text({ data: [[[[[...pixels(1)]]]]] }), {}, 400, /nesting/],
    [text({ datatype: 'FP32', data: [...pixels(1).subarray(1), -1] }), {}, 400, /is -1\./],
    [{ datatype: 'FP32', shape: [1, 8, 8, 3], binary: floats(pixels(1).fill(0)).fill(255) }, {}, 400, /NaN/],
    [{ datatype: 'BYTES', shape: [2], binary: bytesTensor(image(1)) }, {}, 400, /has 1/],
    [{ datatype: 'BYTES', shape: [1], binary: bytesTensor(image(1), image(1)) }, {}, 400, /has more/],
    [{ datatype: 'BYTES', shape: [1], binary: bytesTensor(image(1)).subarray(0, 6) }, {}, 400, /ends within/],
    [{ datatype: 'BYTES', shape: [1], binary: Buffer.from([1, 0]) }, {}, 400, /ends within/],
    [{ datatype: 'BYTES', shape: [1], binary: bytesTensor(Buffer.alloc(0)) }, {}, 400, /no bytes/],
    [{ datatype: 'BYTES', shape: [1, 2], binary: bytesTensor(image(1)) }, {}, 400, /shape \[N\]/],
    [
      { datatype: 'BYTES', shape: [2], data: [image(1).toString('base64'), '?'] },
      {},
      400,
      /^Image 1: .*base64/,
    ],
    [{ datatype: 'BYTES', shape: [1], data: [7] }, {}, 400, /not a base64 string/],
    [{ datatype: 'BYTES', shape: [1], data: ['a', 'b', 'c'] }, {}, 400, /must be 1 strings/],
    [
      { datatype: 'BYTES', shape: [1], data: [Buffer.from('junk').toString('base64')] },
      {},
      422,
      /not an image/,
    ],
  ]
  for (const [tensor, rest, status, error] of cases) {
    const answer = await ask(tensor, rest)
    t.match(answer, { status, error }, `${JSON.stringify({ tensor, rest }).slice(0, 200)}`)
  }
  const bodies: [headers: Record<string, string>, payload: string, status: number, error: RegExp][] = [
    [{ 'content-type': 'application/json' }, '', 400, /empty/],
    [{ 'content-type': 'application/json' }, '{', 400, /not JSON/],
    [{ 'content-type': 'application/json' }, '[]', 400, /must be an object/],
    [{ 'content-type': 'application/json' }, '{"inputs":[]}', 400, /must have one tensor/],
    [{ 'content-type': 'application/json' }, '{"inputs":[],"inputs":[]}', 400, /more than once/],
    [{ 'content-type': 'text/plain' }, '{}', 415, /This route reads application\/json/],
    [{ 'inference-header-content-length': '9' }, '{}', 400, /the body's 2 bytes/],
    [{ 'inference-header-content-length': '-1' }, '{}', 400, /Inference-Header-Content-Length/],
    [{ 'inference-header-content-length': '1' }, '{}', 400, /not JSON/],
    [{ 'content-encoding': 'gzip' }, '{}', 415, /compressed/],
  ]
  for (const [headers, payload, status, error] of bodies)
    t.match(await answerOf(app, url, { headers, payload: Buffer.from(payload) }), { status, error }, payload)
  const two = { inputs: [1, 2].map(() => ({ name: 'image', datatype: 'BYTES', shape: [1], data: [''] })) }
  const payload = Buffer.from(JSON.stringify(two))
  t.match(await answerOf(app, url, { headers: {}, payload }), { status: 400, error: /it has 2/ })
})

t.test('limits, deadlines and tokens are those of /v1', async (t) => {
  const { app, ask } = await asking(t, { predictToken: 'reader', config: { maxBody: 500, maxTimeoutMs: 5 } })
  const tensor = { datatype: 'UINT8', shape: [1, 8, 8, 3], binary: pixels(1) }
  t.match(await ask(tensor), { status: 401, error: /Send a token/ })
  const authorization = 'Bearer reader'
  const request = inference(tensor)
  const sent = (headers: object, path = url) =>
    answerOf(app, path, { ...request, headers: { ...request.headers, authorization, ...headers } })
  t.match(await sent({}), { status: 200 })
  t.match(await sent({ 'x-request-timeout': '0' }), { status: 400, error: /X-Request-Timeout/ })
  t.match(await sent({}, '/v2/models/nope/infer'), { status: 404, error: /no domain "nope"/ })
  t.match(await sent({}, `${url}?top_k=1`), { status: 400, error: /Unknown query parameter/ })
  const large = inference({ ...tensor, binary: Buffer.alloc(600) })
  const refused = { ...large, headers: { ...large.headers, authorization } }
  t.match(await answerOf(app, url, refused), { status: 413, error: /more than 500 bytes \(--max-body\)/ })
})

t.test('a request says itself how long it may take', async (t) => {
  const { ask } = await asking(t, {
    predictor: {
      predict: async (_items, { deadline }) => {
        throw new Error(`until ${Math.round(deadline! - performance.now())}`)
      },
    },
    clock: { now: () => performance.now(), date: () => new Date(), after: () => () => {} },
  })
  const tensor = { datatype: 'UINT8', shape: [1, 8, 8, 3], binary: pixels(1) }
  t.match(await ask(tensor, { parameters: { timeout: 1 } }), { status: 504, error: /longer to arrive/ })
})

t.test('an answer whose domain changes meanwhile is of one version', async (t) => {
  const versions = [
    ['a', 'b'],
    ['b', 'b'],
  ]
  const asked: number[] = []
  const { ask } = await asking(t, {
    predictor: {
      predict: async (items) => {
        asked.push(items.length)
        const results = versions.shift()!.map((version) => ({
          domain: 'colours',
          version,
          labels: ['red'],
          activation: 'softmax' as const,
          logits: Float32Array.of(1),
          features: new Float32Array(8),
        }))
        return { results, timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 } }
      },
    },
  })
  const tensor = { datatype: 'UINT8', shape: [2, 8, 8, 3], binary: Buffer.concat([pixels(1), pixels(1)]) }
  t.match(await ask(tensor), { status: 200, model_version: 'b', outputs: [{ shape: [2, 1] }] })
  t.same(asked, [2, 2])
})
