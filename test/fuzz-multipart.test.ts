/**
 * Multipart bodies of hostile clients, through the real routes. Each is answered, never with a 5xx; afterwards
 * no memory is held, nothing is left on disk, and nothing has changed.
 */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { image, multipart, pack, testApp } from './http-app.js'
import { until } from './until.js'

const BOUNDARY = 'b--ound'
const crlf = Buffer.from('\r\n')

/** A part's head: mostly well-formed, or with some field a parser might trip over. */
const names = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('colours', 'shapes', 'nobody') },
  fc.constantFrom('colours', 'shapes', 'pack', 'nobody', 'constructor', '__proto__', 'toString', '', '../x'),
  fc.string({ maxLength: 80 }),
  fc.constant('n'.repeat(9000)),
)
const fields = fc.oneof(
  {
    weight: 6,
    arbitrary: names.map((name) => `Content-Disposition: form-data; name="${name}"; filename="x.png"`),
  },
  names.map((name) => `Content-Disposition: form-data; name="${name}"`),
  names.map((name) => `content-disposition:form-data;name=${name}`),
  fc.constantFrom(
    'Content-Disposition: form-data; filename="only.png"',
    'Content-Disposition: attachment; name="colours"',
    "Content-Disposition: form-data; name*=utf-8''colours",
    'Content-Disposition: form-data; name="colours"; name="shapes"',
    'Content-Disposition: form-data; name="colours',
    'Content-Type: multipart/mixed; boundary=inner',
    `Content-Type: multipart/form-data; boundary=${BOUNDARY}`,
    'Content-Type: application/json',
    'Content-Transfer-Encoding: base64',
    'Content-Length: 99999999',
    ' folded: line',
    ': no name',
    'no colon',
    '',
  ),
  fc.string({ maxLength: 40 }).map((text) => `X-Any: ${text}`),
  fc.integer({ min: 0, max: 60 }).map((count) => `${'X-Many: y\r\n'.repeat(count)}X-Last: y`),
)

const contents = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(image(1), image(0, 2)) },
  fc.constantFrom(image(1), image(0, 2), Buffer.from('junk'), Buffer.alloc(0), Buffer.alloc(5000, 7)),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  // Text inside a part that looks like a boundary or the beginning of one.
  fc
    .constantFrom(`\r\n--${BOUNDARY}`, `\r\n--${BOUNDARY}-`, `--${BOUNDARY}`, `\r\n-`, '\r')
    .map((text) => Buffer.from(`IMG${text}`)),
  fc.constant(Buffer.from(`--inner\r\nContent-Disposition: form-data; name="a"\r\n\r\nIMG\r\n--inner--`)),
)

const head = fc.oneof(
  { weight: 3, arbitrary: fields.map((field) => [field]) },
  fc.array(fields, { maxLength: 3 }),
)

const part = fc.tuple(head, contents).map(([head, content]) => {
  return Buffer.concat([Buffer.from(`--${BOUNDARY}\r\n${head.join('\r\n')}\r\n\r\n`), content, crlf])
})

/** How a body ends: closed, not closed, closed twice, or with text behind it. */
const endings = fc
  .constantFrom(
    `--${BOUNDARY}--\r\n`,
    `--${BOUNDARY}--`,
    '',
    `--${BOUNDARY}--\r\n--${BOUNDARY}--`,
    'epilogue',
  )
  .map((text) => Buffer.from(text))

const types = fc.oneof(
  { weight: 6, arbitrary: fc.constant(`multipart/form-data; boundary=${BOUNDARY}`) },
  fc.constantFrom(
    `multipart/form-data; boundary="${BOUNDARY}"`,
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=other',
    `multipart/form-data; boundary=${'x'.repeat(300)}`,
    `multipart/mixed; boundary=${BOUNDARY}`,
    `MULTIPART/FORM-DATA; Boundary=${BOUNDARY}; charset=x`,
  ),
)

interface Hostile {
  type: string
  body: Buffer
  /** Sizes of the pieces in which it arrives, repeated. */
  pieces: number[]
}

const hostile: fc.Arbitrary<Hostile> = fc
  .record({
    type: types,
    whole: fc
      .tuple(fc.array(part, { maxLength: 6 }), endings)
      .map(([parts, end]) => Buffer.concat([...parts, end])),
    /** The share of it after which it is cut off; 1 to send all. */
    cut: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.double({ min: 0, max: 1, noNaN: true })),
    pieces: fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 4 }),
  })
  .map(({ type, whole, cut, pieces }) => ({
    type,
    body: whole.subarray(0, Math.floor(whole.length * cut)),
    pieces,
  }))

function* inPieces({ body, pieces }: Hostile): Generator<Buffer> {
  for (let at = 0, next = 0; at < body.length; next++) {
    const size = pieces[next % pieces.length]!
    yield body.subarray(at, at + size)
    at += size
  }
}

const targets = [
  { method: 'POST', url: '/v1/predict' },
  { method: 'POST', url: '/v1/domains/colours/predict' },
  { method: 'POST', url: '/v1/domains/shapes/embed' },
  { method: 'PUT', url: '/v1/domains/fresh' },
] as const

/** Statuses that a client may get for its body. 429 is none of them, since requests come one at a time. */
const expected = [200, 201, 400, 404, 413, 415, 422]

const temporary = t.testdir()
process.env.TMPDIR = temporary

t.test('every body is answered, with no 5xx, and holds nothing afterwards', async (t) => {
  const { app, domains } = await testApp(t, { config: { maxUploads: 1 } })
  const before = JSON.stringify(domains.get('colours'))
  const met = new Set<number>()
  const property = fc.asyncProperty(hostile, fc.constantFrom(...targets), async (body, target) => {
    const answer = await app.inject({
      ...target,
      headers: { 'content-type': body.type, 'transfer-encoding': 'chunked' },
      payload: Readable.from(inPieces(body)),
    })
    met.add(answer.statusCode)
    if (!expected.includes(answer.statusCode)) throw new Error(`${answer.statusCode}: ${answer.body}`)
    if (answer.statusCode >= 400 && answer.json().status !== answer.statusCode) throw new Error(answer.body)
    if (JSON.stringify(domains.get('colours')) !== before) throw new Error('a domain has changed')
  })
  await fc.assert(property, { seed: 20261122, numRuns: 500 })
  t.ok(
    [200, 400, 404, 413, 415].every((status) => met.has(status)),
    `met ${[...met].sort()}`,
  )
  t.equal(domains.active, 0)
  t.same(readdirSync(temporary), [], 'no temporary file')
})

t.test('a body whose client hangs up anywhere frees what it held', async (t) => {
  const { app, domains, logs } = await testApp(t, { config: { maxUploads: 1 } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  let sent = 0
  const property = fc.asyncProperty(hostile, fc.constantFrom(...targets), async (body, { method, url }) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    const requestId = `gone-${sent++}`
    // The announced length is longer than the body.
    socket.write(
      `${method} ${url} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: ${requestId}\r\nContent-Type: ${body.type}\r\n` +
        `Content-Length: ${body.body.length + 1}\r\n\r\n`,
    )
    for (const piece of inPieces(body)) socket.write(piece)
    socket.end()
    socket.resume()
    await once(socket, 'close')
    const recorded = () => logs.find((line) => line.requestId === requestId && line.msg === 'request')
    await until(() => recorded() !== undefined)
    const status = recorded()!.status as number
    if (![...expected, 499].includes(status)) throw new Error(JSON.stringify(recorded()))
  })
  await fc.assert(property, { seed: 20261123, numRuns: 150 })
  const form = multipart([{ name: 'pack', bytes: pack(['a', 'b']) }])
  const put = await app.inject({ method: 'PUT', url: '/v1/domains/after', ...form })
  t.equal(put.statusCode, 201, 'the one upload slot is free')
  t.equal(domains.active, 0)
  t.same(readdirSync(temporary), [], 'no temporary file')
})
