/** Malformed requests of the Open Inference Protocol: none is answered 5xx, and none changes anything. */
import fc from 'fast-check'
import t from 'tap'
import { image, pack, testApp } from './http-app.js'
import { bytesTensor, inference, type Tensor } from './oip-requests.js'

const RUNS = 300
const SEED = 20261128

/** A value that a member may have by mistake or on purpose. */
const odd = fc.oneof(
  fc.constantFrom(null, true, -1, 0, 1.5, 2 ** 53, 1e300, '', 'image', 'FP32', '\ud800', [], {}, [[]]),
  fc.array(fc.integer({ min: -3, max: 70_000 }), { maxLength: 5 }),
  fc.string(),
)
const shape = fc.oneof(
  odd,
  fc.constantFrom([1, 8, 8, 3], [1, 3, 8, 8], [2, 8, 8, 3], [1], [2 ** 40, 8, 8, 3], [4294967296, 2 ** 30]),
)
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 600 }),
  fc.constant(bytesTensor(image(1), image(2))),
  fc.constant(new Uint8Array(192)),
  fc.constant(Uint8Array.of(255, 255, 255, 255, 0)),
)
const members = fc.record(
  {
    name: fc.oneof({ weight: 4, arbitrary: fc.constant('image') }, odd),
    datatype: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('UINT8', 'FP32', 'BYTES') }, odd),
    shape,
    data: odd,
    parameters: fc.oneof(odd, fc.record({ binary_data_size: odd, shared_memory_region: odd })),
  },
  { requiredKeys: ['name', 'datatype', 'shape'] },
)
const rest = fc.record(
  {
    id: odd,
    parameters: fc.oneof(odd, fc.record({ binary_data_output: odd, timeout: odd })),
    outputs: fc.oneof(
      odd,
      fc.array(fc.record({ name: fc.constantFrom('scores', 'features', 'x'), parameters: odd }), {
        maxLength: 3,
      }),
    ),
  },
  { requiredKeys: [] },
)
const headerLength = fc.option(
  fc.oneof(
    fc.integer({ min: -2, max: 3000 }).map(String),
    fc.constantFrom('', 'x', '1e2', '0x10', '9'.repeat(40)),
  ),
)

t.test('inference: any tensor, any binary data, any length of the header', async (t) => {
  const { app, domains } = await testApp(t)
  const before = domains.list({ limit: 10 })
  const statuses = new Set<number>()
  const property = fc.asyncProperty(
    members,
    rest,
    fc.option(bytes),
    headerLength,
    async (tensor, more, binary, length) => {
      const { headers, payload } = inference({ ...(tensor as Tensor), ...(binary && { binary }) }, more)
      const sent = { ...headers, ...(length !== null && { 'inference-header-content-length': length }) }
      const answer = await app.inject({
        method: 'POST',
        url: '/v2/models/colours/infer',
        headers: sent,
        payload,
      })
      statuses.add(answer.statusCode)
      const said = answer.statusCode === 200 ? 'outputs' : 'error'
      return answer.statusCode < 500 && answer.body.includes(`"${said}":`)
    },
  )
  await fc.assert(property, { numRuns: RUNS, seed: SEED })
  t.ok(statuses.has(400) && statuses.has(422), `${[...statuses]}`)
  t.strictSame(domains.list({ limit: 10 }), before)
})

t.test('a good binary request with some of its bytes changed', async (t) => {
  const { app } = await testApp(t)
  const good = inference(
    { datatype: 'BYTES', shape: [2], binary: bytesTensor(image(1, 2), image(3)) },
    { outputs: [{ name: 'scores', parameters: { classification: 2, binary_data: true } }] },
  )
  const change = fc.record({ at: fc.nat({ max: good.payload.length - 1 }), byte: fc.nat({ max: 255 }) })
  const property = fc.asyncProperty(
    fc.array(change, { minLength: 1, maxLength: 4 }),
    fc.nat(20),
    async (changes, cut) => {
      const payload = Buffer.from(good.payload.subarray(0, good.payload.length - cut))
      for (const { at, byte } of changes) if (at < payload.length) payload[at] = byte
      const answer = await app.inject({
        method: 'POST',
        url: '/v2/models/colours/infer',
        headers: good.headers,
        payload,
      })
      return answer.statusCode < 500
    },
  )
  await fc.assert(property, { numRuns: RUNS, seed: SEED })
})

t.test('bodies of the repository', async (t) => {
  const { app, domains } = await testApp(t)
  const before = domains.list({ limit: 10 })
  const base64 = pack(['a']).toString('base64')
  const files = fc.dictionary(
    fc.constantFrom('file:', 'file:a', 'file:b'),
    fc.oneof(odd, fc.constant(base64)),
    {
      minKeys: 2,
    },
  )
  const body = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.record({ parameters: files }).map((json) => Buffer.from(JSON.stringify(json))),
  )
  const property = fc.asyncProperty(body, fc.constantFrom('load', 'unload'), async (payload, action) => {
    const isGood = action === 'unload' && payload[0] === 0x7b
    const url = `/v2/repository/models/${isGood ? 'nope' : 'colours'}/${action}`
    const answer = await app.inject({ method: 'POST', url, payload })
    return answer.statusCode >= 400 && answer.statusCode < 500
  })
  await fc.assert(property, { numRuns: RUNS, seed: SEED })
  t.strictSame(domains.list({ limit: 10 }), before)
})
