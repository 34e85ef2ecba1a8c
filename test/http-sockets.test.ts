/**
 * Behaviour that only a real connection shows: clients that leave, stop half-way, send nonsense or never
 * stop.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { lengthy, listening, open } from './connections.js'
import { image, metricsWith, multipart, pack, type TestAppOptions } from './http-app.js'
import { until } from './until.js'

/** Everything that the server sends until it closes, or until the answer's JSON body is complete. */
async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) {
    text += chunk
    const length = /content-length: (\d+)/i.exec(text)?.[1]
    const body = text.split('\r\n\r\n')[1]
    if (length !== undefined && body !== undefined && body.length >= Number(length)) break
  }
  return text
}

const head = (method: string, path: string, fields: Record<string, string>) =>
  `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`

t.test('a client that leaves is noticed, and its request counts as 499', async (t) => {
  let seen: AbortSignal | undefined
  const { app, port } = await listening(t, {
    predictor: {
      predict: (_items, { signal }) =>
        new Promise((_resolve, reject) => {
          seen = signal!
          signal!.addEventListener('abort', () => reject(signal!.reason))
        }),
    },
  })
  const socket = await open(port)
  const bytes = image(1)
  socket.write(
    head('POST', '/v1/domains/colours/predict', {
      'Content-Type': 'image/png',
      'Content-Length': String(bytes.length),
    }),
  )
  socket.write(bytes)
  await until(() => seen !== undefined)
  t.equal(seen!.aborted, false)
  socket.destroy()
  await until(() => seen!.aborted)
  const metrics = await metricsWith(app, 'code="499"')
  t.match(metrics, 'facet_requests_total{route="/v1/domains/{domain}/predict",code="499",method="POST"} 1')
  t.notMatch(metrics, 'code="500"')
})

t.test('an upload that stops half-way changes nothing and gives its room back', async (t) => {
  const { app, domains, port, logs } = await listening(t, { config: { maxUploads: 1 } })
  const before = domains.get('colours')
  const bytes = pack(['a', 'b'])
  const form = multipart([{ name: 'pack', bytes }])
  const bodies: [string, Buffer][] = [
    ['application/octet-stream', bytes],
    [form.headers['content-type'], form.payload],
  ]
  let ended = 0
  for (const [type, body] of bodies) {
    const socket = await open(port)
    socket.write(
      head('PUT', '/v1/domains/colours', { 'Content-Type': type, 'Content-Length': String(body.length) }),
    )
    socket.write(body.subarray(0, body.length - 4))
    // Its bytes count, so that one that needs all of the room does not fit.
    const full = async () =>
      (await app.inject({ method: 'PUT', url: '/v1/domains/x', payload: Buffer.alloc(8192) })).statusCode ===
      429
    await until(full)
    socket.destroy()
    ended++
    await until(() => logs.filter(({ msg, status }) => msg === 'audit' && status === 499).length === ended)
  }
  t.strictSame(domains.get('colours'), before)
  const put = await app.inject({
    method: 'PUT',
    url: '/v1/domains/colours',
    headers: { 'content-type': 'application/octet-stream' },
    payload: bytes,
  })
  t.equal(put.statusCode, 200)
})

t.test('a chunked body is bounded as it comes', async (t) => {
  const { port } = await listening(t)
  const form = multipart([{ name: 'a', bytes: Buffer.alloc(6000) }])
  for (const [type, body] of [
    ['image/png', Buffer.alloc(6000)],
    [form.headers['content-type'], form.payload],
  ] as const) {
    const socket = await open(port)
    socket.write(
      head('POST', '/v1/domains/colours/predict', { 'Content-Type': type, 'Transfer-Encoding': 'chunked' }),
    )
    socket.write(`${body.length.toString(16)}\r\n`)
    socket.write(body)
    const answer = await answerOf(socket)
    t.match(answer, /^HTTP\/1\.1 413 /, type)
    t.match(answer, 'body_too_large')
    socket.destroy()
  }
})

t.test('pipelined requests are answered one after the other, in order', async (t) => {
  const running: string[] = []
  let most = 0
  const { port, app } = await listening(t, {
    readiness: async () => {
      running.push('ready')
      most = Math.max(most, running.length)
      await new Promise(setImmediate)
      running.pop()
      return { ready: true }
    },
  })
  const socket = await open(port)
  const paths = Array.from({ length: 40 }, (_, index) => (index % 3 === 0 ? '/livez' : '/readyz'))
  const last = head('GET', '/v1/domains/nobody', { Connection: 'close' })
  socket.write(paths.map((path) => head('GET', path, {})).join('') + last)
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  await new Promise((closed) => socket.once('close', closed))
  const answers = [...text.matchAll(/"status":"(\w+)"|"code":"(\w+)"/g)].map(
    ([, status, code]) => status ?? code,
  )
  t.same(answers, [...paths.map((path) => (path === '/livez' ? 'live' : 'ready')), 'unknown_domain'])
  t.equal(most, 1)

  let requests = 0
  app.server.on('request', () => {
    requests += 1
  })
  for (const _ of [1, 2]) {
    requests = 0
    const flood = await open(port)
    flood.write(head('GET', '/livez', {}).repeat(1000))
    flood.resume()
    await new Promise((closed) => flood.once('close', closed))
    t.ok(requests > 100, 'as many as may wait')
    t.ok(requests < 110, 'Node makes no request of the rest')
  }
  t.equal((await app.inject('/livez')).statusCode, 200)
})

t.test('a body in very small chunks is refused, and its connection ends', async (t) => {
  const { app, port } = await listening(t, { config: { maxBody: 100_000 } })
  const socket = await open(port)
  const fields = { 'Content-Type': 'image/png', 'Transfer-Encoding': 'chunked' }
  socket.write(head('POST', '/v1/domains/colours/predict', fields) + '1\r\nx\r\n'.repeat(1100))
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  await new Promise((closed) => socket.once('close', closed))
  t.match(answer, /^HTTP\/1.1 400 [\s\S]*very small chunks/)
  t.match(answer, /connection: close/i)
  t.equal((await app.inject('/livez')).statusCode, 200)
})

t.test('a client that is refused early sees why, and may go on on its connection', async (t) => {
  const { port } = await listening(t)
  const socket = await open(port)
  const size = 1_000_000
  socket.write(
    head('POST', '/v1/domains/colours/predict', {
      'Content-Type': 'image/png',
      'Content-Length': String(size),
    }),
  )
  for (let sent = 0; sent < size; sent += 50_000) socket.write(Buffer.alloc(50_000))
  socket.write(head('GET', '/livez', { Connection: 'close' }))
  let text = ''
  for await (const chunk of socket) text += chunk
  t.match(text, /^HTTP\/1\.1 413 /)
  t.match(text, 'HTTP/1.1 200 OK')
})

t.test('very small chunks of a body that is refused early end its connection', async (t) => {
  const { port } = await listening(t, { config: { receiveTimeoutMs: 600_000, keepAliveTimeoutMs: 600_000 } })
  const socket = await open(port)
  socket.write(head('POST', '/nowhere', { 'Transfer-Encoding': 'chunked' }))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  t.match(answer.toString(), /^HTTP\/1\.1 404 /)
  socket.write('1\r\nx\r\n'.repeat(600))
  await once(socket, 'close')
})

t.test('dots in a raw path reach no other route', async (t) => {
  const { port } = await listening(t)
  for (const path of [
    '/v1/domains/..',
    '/v1/domains/../family',
    '/v1/domains/%2e%2e',
    '/v1/domains/..%2ffamily',
  ]) {
    const socket = await open(port)
    socket.write(head('GET', path, {}))
    const answer = await answerOf(socket)
    t.match(answer, /^HTTP\/1\.1 40[04] /, path)
    t.notMatch(answer, 'fingerprint')
    socket.destroy()
  }
})

t.test(
  'bytes that are not HTTP, and header fields that are too long, are answered with a problem',
  async (t) => {
    const { app, port } = await listening(t)
    const cases: [string, RegExp, string][] = [
      ['NONSENSE\r\n\r\n', /^HTTP\/1\.1 400 /, 'malformed_request'],
      [head('GET', '/livez', { 'X-Long': 'x'.repeat(20_000) }), /^HTTP\/1\.1 431 /, 'headers_too_large'],
      [
        head('POST', '/v1/predict', { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }),
        /^HTTP\/1\.1 400 /,
        'malformed_request',
      ],
    ]
    for (const [text, status, code] of cases) {
      const socket = await open(port)
      socket.write(text)
      const answer = await answerOf(socket)
      t.match(answer, status)
      t.match(answer, 'application/problem+json')
      t.match(answer, 'nosniff')
      t.match(answer, `"code":"${code}"`)
      socket.destroy()
    }
    t.match(
      (await app.inject('/metrics')).body,
      'facet_requests_total{route="_unmatched",code="431",method="_other"} 1',
    )
  },
)

t.test('a request that does not arrive in time is ended, and counts once', async (t) => {
  const { app, port, domains, logs } = await listening(t, { config: { receiveTimeoutMs: 50 } })
  const socket = await open(port)
  socket.write(
    head('PUT', '/v1/domains/slow', {
      'Content-Type': 'application/octet-stream',
      'Content-Length': '99',
      'X-Request-Id': 'slow-1',
    }),
  )
  socket.write('a few bytes')
  const answer = await answerOf(socket)
  t.match(answer, /^HTTP\/1\.1 408 .*request_timeout/s)
  t.match(answer, '"request_id":"slow-1"')
  t.equal(domains.has('slow'), false)
  const audits = () => logs.filter(({ msg }) => msg === 'audit')
  await until(() => audits().length > 0)
  const { body } = await app.inject('/metrics')
  const counted = body.split('\n').filter((line) => /^facet_requests_total.*code="4/.test(line))
  t.strictSame(counted, ['facet_requests_total{route="/v1/domains/{domain}",code="408",method="PUT"} 1'])
  t.match(audits(), [{ audit: 'domain.put', outcome: 'refused', status: 408, requestId: 'slow-1' }])
})

/** A change that holds until `open` is called. */
async function held(t: Parameters<typeof listening>[0], options: TestAppOptions = {}) {
  const made = await listening(t, options)
  let open = () => {}
  made.domains.gate = new Promise((resolve) => {
    open = resolve
  })
  const bytes = pack(['a', 'b'])
  const fields = { 'Content-Type': 'application/octet-stream', 'Content-Length': String(bytes.length) }
  const put = Buffer.concat([Buffer.from(head('PUT', '/v1/domains/new', fields)), bytes])
  const counted = (line: string) => metricsWith(made.app, line)
  const audits = () => made.logs.filter(({ msg }) => msg === 'audit')
  return { ...made, open, put, counted, audits }
}

t.test('a change goes on when its client leaves behind its pack, and the audit says so', async (t) => {
  const { domains, port, open: letGo, put, counted, audits } = await held(t)
  const socket = await open(port)
  socket.write(put)
  await until(() => domains.active === 1)
  socket.destroy()
  await counted('facet_requests_total{route="/v1/domains/{domain}",code="499",method="PUT"} 1')
  t.same(audits(), [], 'it is not known yet')
  letGo()
  await until(() => audits().length > 0)
  const { version } = domains.get('new')
  t.match(audits(), [{ audit: 'domain.put', outcome: 'done', domain: 'new', version, status: 499 }])
})

t.test('what is wrong with a later request leaves the one at work its answer', async (t) => {
  const partial = head('POST', '/v1/domains/colours/predict', {
    'Content-Type': 'image/png',
    'Content-Length': '9',
  })
  const cases: [string, string, string][] = [
    ['no HTTP', 'NONSENSE\r\n\r\n', '400'],
    ['a body that does not arrive in time', partial, '408'],
    ['a head that does not arrive in time', partial.slice(0, 40), '408'],
    ['a whole request, then no HTTP', `${head('GET', '/livez', {})}NONSENSE\r\n\r\n`, '400'],
  ]
  for (const [name, rest, status] of cases) {
    const config = { receiveTimeoutMs: status === '408' ? 50 : 10_000 }
    const { domains, port, open: letGo, put, counted, audits } = await held(t, { config })
    const socket = await open(port)
    socket.write(put)
    await until(() => domains.active === 1)
    socket.write(rest)
    await counted(`facet_requests_total{route="_unmatched",code="${status}",method="_other"} 1`)
    letGo()
    let text = ''
    for await (const chunk of socket) text += chunk
    t.match(text, /^HTTP\/1\.1 201 .*connection: close.*"uploaded"/is, name)
    t.equal(text.match(/HTTP\/1\.1/g)!.length, 1, 'the connection ends with it')
    t.match(audits(), [{ audit: 'domain.put', outcome: 'done', status: 201 }])
  }
})

t.test('a client that ends its side in the middle of a later request gets its answer', async (t) => {
  const { domains, port, open: letGo, put } = await held(t)
  const socket = await open(port, { allowHalfOpen: true })
  socket.write(put)
  await until(() => domains.active === 1)
  socket.end('GET /liv')
  await once(socket, 'data')
  letGo()
  let text = ''
  for await (const chunk of socket) text += chunk
  t.match(text, /HTTP\/1\.1 201 /)
})

t.test('an answer that is on its way arrives whole, whatever comes behind its request', async (t) => {
  const { app, port } = await listening(t, { predictor: lengthy })
  const socket = await open(port)
  const bytes = image(1)
  socket.write(head('POST', '/v1/domains/colours/embed', { 'Content-Length': String(bytes.length) }))
  socket.write(bytes)
  await once(socket, 'readable')
  socket.write(head('GET', '/livez', {}))
  socket.write('NONSENSE\r\n\r\n')
  await metricsWith(app, 'route="_unmatched",code="400"')
  let text = ''
  for await (const chunk of socket) text += chunk
  t.match(text, /^HTTP\/1\.1 200 .*\r\n0\r\n\r\n$/s, 'to its last chunk, and nothing behind it')
})

t.test('a client that hangs up in the middle of its body counts once, as gone', async (t) => {
  const { app, port } = await listening(t)
  const socket = await open(port)
  socket.write(
    head('POST', '/v1/domains/colours/predict', { 'Content-Type': 'image/png', 'Content-Length': '99' }),
  )
  socket.end('half')
  await once(socket.resume(), 'close')
  const metrics = await metricsWith(app, 'code="4')
  const counted = metrics.split('\n').filter((line) => /^facet_requests_total.*code="4/.test(line))
  t.strictSame(counted, [
    'facet_requests_total{route="/v1/domains/{domain}/predict",code="499",method="POST"} 1',
  ])
})
