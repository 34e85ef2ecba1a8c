/** What HTTP itself asks of a service, over real connections: Host, Expect, half-closed clients, one peer's connections. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { lengthy, listening, open as openConnection, openConnections, said } from './connections.js'
import { image, metricsWith, type TestAppOptions } from './http-app.js'
import { ManualClock } from './manual-clock.js'
import { inference } from './oip-requests.js'
import { until } from './until.js'

const live = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Ends its side only when told. */
const open = (port: number, localAddress = '127.0.0.1') =>
  openConnection(port, { localAddress, allowHalfOpen: true })

/** Sends a request; resolves to all that the server sends until it closes. */
async function ask(port: number, text: string): Promise<string> {
  const socket = await open(port)
  socket.write(text)
  return said(socket)
}

/** The problem document that ends an answer. Its request id is that of the header. */
function problemOf(t: Test, answer: string): Record<string, unknown> {
  t.match(answer, /content-type: application\/problem\+json/i)
  const problem = JSON.parse(answer.slice(answer.lastIndexOf('\r\n\r\n') + 4)) as Record<string, unknown>
  t.match(answer, `x-request-id: ${problem.request_id}`)
  return problem
}

t.test('Host: one, and a sound one', async (t) => {
  const { port } = await listening(t)
  const get = (version: string, ...hosts: string[]) =>
    ask(
      port,
      `GET /livez HTTP/${version}\r\nConnection: close\r\n${hosts.map((h) => `Host: ${h}\r\n`).join('')}\r\n`,
    )
  for (const host of ['localhost', 'a.example:8080', '[::1]:8080', '', '127.0.0.1'])
    t.match(await get('1.1', host), /^HTTP\/1\.1 200 /, host)
  t.match(await get('1.0'), / 200 /, 'HTTP/1.0 has none')
  const refused: [string[], RegExp][] = [
    [[], /no Host field/],
    [['localhost', 'localhost'], /more than one Host/],
    [['localhost', 'evil.example'], /more than one Host/],
    [['a b'], /names no host/],
    [['a.example/path'], /names no host/],
    [['a@b'], /names no host/],
  ]
  for (const [hosts, detail] of refused) {
    const answer = await get('1.1', ...hosts)
    t.match(answer, /^HTTP\/1\.1 400 /)
    t.match(problemOf(t, answer), { code: 'malformed_request', detail })
  }
})

t.test('Expect: a body is asked for when its request has passed', async (t) => {
  const { port } = await listening(t, { predictToken: 'a-long-predict-token' })
  const expect = (path: string, fields: string) =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n${fields}\r\n`
  const token = 'Authorization: Bearer a-long-predict-token\r\n'
  const refused: [string, string, number][] = [
    ['/v1/domains/nobody/predict', `${token}Content-Length: 4\r\n`, 404],
    ['/v1/domains/colours/predict', 'Content-Length: 4\r\n', 401],
    ['/v1/domains/colours/predict', `${token}Content-Length: 5000\r\n`, 413],
    ['/v1/domains/colours/predict', `${token}Content-Length: 4\r\nContent-Type: text/html\r\n`, 415],
    ['/nowhere', `${token}Content-Length: 4\r\n`, 404],
  ]
  for (const [path, fields, status] of refused) {
    const answer = await ask(port, expect(path, fields))
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), `${path} ${status}`)
    t.notMatch(answer, '100 Continue')
    t.match(answer, /connection: close/i, 'a body that was not asked for cannot be told from a request')
    problemOf(t, answer)
  }
  const socket = await open(port)
  socket.write(expect('/v1/domains/colours/predict', `${token}Connection: close\r\nContent-Length: 4\r\n`))
  const [first] = (await once(socket, 'data')) as [Buffer]
  t.equal(first.toString(), 'HTTP/1.1 100 Continue\r\n\r\n')
  socket.write(image(1))
  t.match(await said(socket), /^HTTP\/1\.1 200 /)

  const other = `GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: a-miracle\r\n\r\n`
  const answer = await ask(port, other)
  t.match(answer, /^HTTP\/1\.1 417 /)
  t.match(problemOf(t, answer), { code: 'expectation_failed', detail: /100-continue/ })
})

t.test('what is no request of ours is answered with a problem too', async (t) => {
  const { port } = await listening(t)
  const withFields = (...fields: string[]) =>
    `GET /livez HTTP/1.1\r\nConnection: close\r\n${fields.join('\r\n')}\r\n\r\n`
  const chunked = (coding: string) =>
    `POST /v1/domains/colours/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\nTransfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`
  const cases: [string, number, RegExp][] = [
    ['CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n', 405, /no proxy/],
    ['PROPFIND /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 405, /GET/],
    ['FETCH /livez HTTP/1.1\r\nHost: localhost\r\n\r\n', 400, /not HTTP\/1\.1: Invalid method/],
    ['GET /livez HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n', 400, /not HTTP\/1\.1: Invalid header/],
    ['GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400, /percent-encoding/],
    [
      'POST /v1/domains/colours/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      400,
      /chunk size/,
    ],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, /not HTTP\/1\.1/],
    [chunked('gzip, chunked'), 400, /Transfer-Encoding "gzip, chunked" is not read; chunked alone is/],
    [chunked('chunked, gzip'), 400, /not HTTP\/1\.1/],
    [chunked('Chunked'), 415, /not "text\/plain"/],
    [withFields('Host: a,b'), 400, /names no host/],
    [withFields('Host: a:80:80'), 400, /names no host/],
    [withFields('Host: a', 'Host: a'), 400, /more than one Host/],
    [withFields('Host: a', 'Authorization: Bearer x', 'authorization: Bearer y'), 400, /one Authorization/],
    [
      withFields('Host: a', 'Content-Type: image/png', 'Content-Type: application/json'),
      400,
      /one Content-Type/,
    ],
  ]
  for (const [text, status, detail] of cases) {
    const answer = await ask(port, text)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), text.slice(0, 20))
    t.match(problemOf(t, answer), { status, detail })
  }
})

t.test('a client that ends its side behind a request gets its answer', async (t) => {
  let answer = () => {}
  const { app, port } = await listening(t, {
    predictor: {
      predict: async () => {
        await new Promise<void>((resolve) => {
          answer = resolve
        })
        return { results: [], timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 } }
      },
    },
  })
  const socket = await open(port)
  const length = image(1).length
  socket.write(
    `POST /v1/domains/colours/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n`,
  )
  socket.end(image(1))
  // The server has seen the end when it sends its interim answer.
  const [interim] = (await once(socket, 'data')) as [Buffer]
  t.match(interim.toString(), /^HTTP\/1\.1 100 Continue\r\n\r\n/)
  answer()
  t.match(await said(socket), /HTTP\/1\.1 200 OK\r\n/)
  const metrics = await metricsWith(app, 'code="200"')
  t.notMatch(metrics, 'code="499"')

  const old = await open(port)
  old.write(`POST /v1/domains/colours/predict HTTP/1.0\r\nContent-Length: ${length}\r\n\r\n`)
  answer = () => {}
  const before = answer
  old.end(image(1))
  await until(() => answer !== before)
  answer()
  t.match(await said(old), /^HTTP\/1\.1 200 OK\r\n/, 'HTTP/1.0 knows no interim answers')
})

t.test('the connections of one peer are bounded, with an answer', async (t) => {
  const clock = new ManualClock()
  const { app, port } = await listening(t, { clock, config: { maxConnectionsPerPeer: 2 } })
  const kept = [await open(port), await open(port)]
  const refused = await ask(port, live)
  t.match(refused, /^HTTP\/1\.1 429 /)
  t.match(refused, /retry-after: 1/i)
  t.match(refused, /connection: close/i)
  t.match(problemOf(t, refused), {
    code: 'too_many_connections',
    detail: /2 connections open \(--max-connections-per-peer\)/,
  })
  const body = Buffer.alloc(100_000)
  const posted = await ask(
    port,
    `POST /v1/domains/colours/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  t.match(posted, /^HTTP\/1\.1 429 /, 'also behind a body that is on its way')
  const expecting =
    'POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n'
  t.match(await ask(port, expecting), /^HTTP\/1\.1 429 /, 'and where the body waits to be asked for')

  for (const socket of kept) {
    socket.write(live)
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /, 'those within the bound go on')
  }
  const silent = await open(port)
  await until(async () => (await openConnections(app.server)) >= 3)
  clock.advance(2000)
  t.equal(await said(silent), '', 'one that sends nothing is closed in a moment')
  kept[0]!.destroy()
  await until(async () => (await openConnections(app.server)) <= 1)
  const next = await open(port)
  next.write(live)
  t.match(String((await once(next, 'data'))[0]), /^HTTP\/1\.1 200 /, 'a place that is given back is free')
  for (const socket of [...kept, next]) socket.destroy()
})

for (const [kind, path, body] of [
  ['JSON', '/v1/domains/colours/embed', image(1)],
  ['binary', '/v2/models/colours/infer', binaryFeatures()],
] as const)
  t.test(`a client that stops reading a long answer is left at the deadline: ${kind}`, async (t) => {
    const clock = new ManualClock()
    const { app, port } = await listening(t, { clock, predictor: lengthy })
    const socket = await open(port)
    socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`)
    socket.write(body)
    await once(socket, 'readable')
    t.equal(await openConnections(app.server), 1)
    clock.advance(30_000)
    await until(async () => (await openConnections(app.server)) === 0)
    socket.destroy()
  })

/** A request of `/v2` for features as binary data. */
function binaryFeatures(): Buffer {
  const tensor = { datatype: 'BYTES', shape: [1], data: [image(1).toString('base64')] }
  const outputs = [{ name: 'features', parameters: { binary_data: true } }]
  return inference(tensor, { outputs }).payload
}

t.test('a flood of connections beyond the bound is closed without an answer', async (t) => {
  const clock = new ManualClock()
  const config = { maxConnectionsPerPeer: 1, maxConnections: 100 }
  const { app, port } = await listening(t, { clock, config })
  let accepted = 0
  app.server.on('connection', () => accepted++)
  const first = await open(port)
  const flood = await Promise.all(Array.from({ length: 60 }, () => open(port)))
  const ended = flood.map((socket) => said(socket))
  await until(async () => accepted >= 61 && (await openConnections(app.server)) <= 33)
  t.equal(await openConnections(app.server), 33, 'but a few may wait for their answer')
  clock.advance(2000)
  t.ok((await Promise.all(ended)).every((text) => text === ''))
  t.match((await app.inject('/metrics')).body, /refused_total\{bound="max_connections_per_peer"\} 60/)
  first.destroy()
})

/** A service whose predictions go on until their client leaves. */
async function crowded(t: Test, config: NonNullable<TestAppOptions['config']>) {
  let asked = () => {}
  const made = await listening(t, {
    config,
    predictor: {
      predict: (_items, { signal }) => {
        asked()
        return new Promise((_resolve, reject) => {
          signal!.addEventListener('abort', () => reject(signal!.reason))
        })
      },
    },
  })
  const opened: Socket[] = []
  t.teardown(() => {
    for (const socket of opened) socket.destroy()
  })
  /** Opens a connection; the server has it when this returns. */
  const join = async (from: string) => {
    const [socket] = await Promise.all([open(made.port, from), once(made.app.server, 'connection')])
    opened.push(socket)
    return socket
  }
  /** The same, with a request at work on it. */
  const work = async (from: string) => {
    const socket = await join(from)
    const atWork = new Promise<void>((resolve) => {
      asked = resolve
    })
    const length = image(1).length
    socket.write(
      `POST /v1/domains/colours/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n`,
    )
    socket.write(image(1))
    await atWork
    return socket
  }
  const refused = async () =>
    Number(
      /refused_total\{bound="max_connections"\} (\d+)/.exec((await made.app.inject('/metrics')).body)![1],
    )
  return { ...made, join, work, refused }
}

/** False where the server closes it instead. */
async function isAnswered(socket: Socket): Promise<boolean> {
  socket.write(live)
  const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'end')]).catch(() => [])
  return String(answer).startsWith('HTTP/1.1 200 ')
}

t.test('where requests are at work on all connections, a new one is closed, and counted', async (t) => {
  const { join, work, refused } = await crowded(t, { maxConnections: 2 })
  const first = await work('127.0.0.2')
  await work('127.0.0.3')
  t.equal(await said(await join('127.0.0.4')), '')
  t.equal(await refused(), 1)
  first.destroy()
  // The place is free a moment after the connection has ended.
  await until(async () => isAnswered(await join('127.0.0.4')))
})

t.test('a silent connection of the peer that has most of them makes room for a new one', async (t) => {
  const { join, work, refused } = await crowded(t, { maxConnections: 6 })
  await work('127.0.0.2')
  const other = await join('127.0.0.3')
  const saidNothing = await join('127.0.0.2')
  const halfHead = await join('127.0.0.2')
  halfHead.write('GET /livez HTTP/1.1\r\nHost: loc')
  const answered = await join('127.0.0.2')
  const last = await join('127.0.0.2')
  t.ok(await isAnswered(answered))
  // Its silence begins with the end of its answer.
  for (const [name, socket] of Object.entries({ saidNothing, halfHead, last })) {
    await work('127.0.0.4')
    t.equal(await said(socket), '', name)
  }
  t.equal(await refused(), 3)
  // Now two peers have one each: the one that is silent for longer goes.
  t.ok(await isAnswered(await join('127.0.0.5')))
  t.equal(await said(other), '')
  t.ok(await isAnswered(answered))
})

t.test('who opens connections beyond his bound takes nobody’s place', async (t) => {
  const { join, work, refused } = await crowded(t, { maxConnections: 3, maxConnectionsPerPeer: 2 })
  const quiet = await join('127.0.0.3')
  await work('127.0.0.2')
  await work('127.0.0.2')
  t.equal(await said(await join('127.0.0.2')), '')
  t.ok(await isAnswered(quiet))
  t.equal(await refused(), 1)
})

t.test('silent connections of a trusted proxy make room after those of all others', async (t) => {
  const { join } = await crowded(t, { maxConnections: 3, trustProxy: ['127.0.0.9'] })
  const proxied = [await join('127.0.0.9'), await join('127.0.0.9')]
  const other = await join('127.0.0.2')
  const asking = await join('127.0.0.3')
  t.equal(await said(other), '')
  for (const socket of [...proxied, asking]) t.ok(await isAnswered(socket))
})

t.test('connections of a trusted proxy are not bounded by its address', async (t) => {
  const config = { maxConnectionsPerPeer: 1, trustProxy: ['127.0.0.0/8'] }
  const { port } = await listening(t, { config })
  const sockets = [await open(port), await open(port), await open(port)]
  for (const socket of sockets) {
    socket.write(live)
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /)
    socket.destroy()
  }
})
