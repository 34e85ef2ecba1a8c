/** Everything that a client sends is bounded. A refusal names the option that raises the limit. */
import { pino } from 'pino'
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { listening, open, openConnections, said } from './connections.js'
import { image, multipart, pack, testApp } from './http-app.js'
import { until } from './until.js'

const raw = { 'content-type': 'application/octet-stream' }
const url = '/v1/domains/colours'

t.test('bytes, images, parts and uploads', async (t) => {
  const { app } = await testApp(t, { config: { maxUploads: 1 } })
  const many = multipart(Array.from({ length: 5 }, () => ({ name: 'colours', bytes: image(1) })))
  const large = multipart([{ name: 'colours', bytes: Buffer.alloc(4200) }])
  const five = { images: Array(5).fill('SU1H') }
  const cases: [string, InjectOptions, string, RegExp][] = [
    [
      'image',
      { method: 'POST', url: `${url}/predict`, headers: raw, payload: Buffer.alloc(5000) },
      'body_too_large',
      /more than 4096 bytes \(--max-body\)/,
    ],
    [
      'multipart image',
      { method: 'POST', url: '/v1/predict', ...large },
      'body_too_large',
      /4096 bytes \(--max-body\)/,
    ],
    [
      'JSON',
      { method: 'POST', url: `${url}/embed`, payload: { images: ['A'.repeat(5000)] } },
      'body_too_large',
      /4096 bytes \(--max-body\)/,
    ],
    [
      'pack',
      { method: 'PUT', url, headers: raw, payload: Buffer.alloc(9000) },
      'body_too_large',
      /8192 bytes \(--max-pack\)/,
    ],
    [
      'multipart pack',
      { method: 'PUT', url, ...multipart([{ name: 'pack', bytes: Buffer.alloc(9000) }]) },
      'body_too_large',
      /8192 bytes \(--max-pack\)/,
    ],
    [
      'small JSON',
      { method: 'PATCH', url, payload: { pinned: 'x'.repeat(20_000) } },
      'body_too_large',
      /more than 16384 bytes\.$/,
    ],
    [
      'parts',
      { method: 'POST', url: '/v1/predict', ...many },
      'too_many_parts',
      /more than 4 images \(--max-images\)/,
    ],
    [
      'images',
      { method: 'POST', url: `${url}/predict`, payload: five },
      'too_many_parts',
      /more than 4 images \(--max-images\)/,
    ],
  ]
  for (const [what, request, code, detail] of cases) {
    const answer = await app.inject(request)
    t.match(answer.json(), { status: 413, code, detail }, what)
  }
})

t.test('uploads at once', async (t) => {
  const { app, domains } = await testApp(t, { config: { maxUploads: 1 } })
  let go = () => {}
  domains.gate = new Promise((resolve) => {
    go = resolve
  })
  const put = (domain: string) =>
    app.inject({ method: 'PUT', url: `/v1/domains/${domain}`, headers: raw, payload: pack(['a']) })
  const first = put('first')
  await until(() => domains.active > 0)
  const second = await put('second')
  t.match(second.json(), { status: 429, code: 'too_many_uploads', detail: /--max-uploads/ })
  t.ok(second.headers['retry-after'])
  go()
  t.equal((await first).statusCode, 201)
})

t.test('nesting of JSON, before anything is built of it', async (t) => {
  const { app } = await testApp(t, { config: { maxBody: 2_000_000 } })
  const send = (payload: string) =>
    app.inject({
      method: 'POST',
      url: `${url}/predict`,
      headers: { 'content-type': 'application/json' },
      payload,
    })
  for (const text of [
    '['.repeat(1_000_000),
    `{"images":${'['.repeat(17)}${']'.repeat(17)}}`,
    '{"a":'.repeat(100_000),
  ])
    t.match((await send(text)).json(), { status: 400, code: 'malformed_request', detail: /deeper than 16/ })
  t.match(
    (await send(`{"images":["${'['.repeat(40)}"]}`)).json(),
    { status: 400, detail: /base64/ },
    'text does not count',
  )
})

t.test('JSON: the number of its values, repeated fields, and what is not JSON', async (t) => {
  const { app } = await testApp(t, { config: { maxBody: 200_000 } })
  const send = async (payload: string) => {
    const headers = { 'content-type': 'application/json' }
    return (await app.inject({ method: 'POST', url: `${url}/predict`, headers, payload })).json()
  }
  const list = (length: number) => JSON.stringify({ images: Array(length).fill('') })
  t.match(await send(list(19_998)), { status: 413, code: 'too_many_parts', detail: /more than 4 images/ })
  t.match(await send(list(19_999)), { status: 413, code: 'too_many_parts', detail: /more than 20000 JSON/ })
  t.match(await send('{"images":["SU1H"],"images":["SU1H"]}'), {
    status: 400,
    code: 'malformed_request',
    detail: /"\$\.images" more than once/,
  })
  t.match(await send('{"images":["SU1H",]}'), {
    status: 400,
    detail: /not JSON: expected a value.* at byte 18/,
  })
})

t.test("a part's name and header fields", async (t) => {
  const { app } = await testApp(t, { config: { maxBody: 65_536 } })
  const named = async (name: string) =>
    (
      await app.inject({ method: 'POST', url: '/v1/predict', ...multipart([{ name, bytes: image(1) }]) })
    ).json()
  t.match(await named('n'.repeat(500)), { status: 400, code: 'bad_domain_id', index: 0 })
  t.ok((await named('n'.repeat(500))).detail.length < 250, 'and it is not all told back')
  const status = (await named('n'.repeat(10_000))).status
  t.equal(status, 400, 'a part whose head is beyond 8 KiB is none')
})

t.test('header fields: their bytes', async (t) => {
  const { app, port } = await listening(t)
  const socket = await open(port)
  socket.write(`GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'x'.repeat(9000)}\r\n\r\n`)
  const answer = await said(socket)
  t.match(answer, /^HTTP\/1\.1 431 .*headers_too_large.*--max-header/s)
  t.match(
    (await app.inject('/metrics')).body,
    'facet_requests_total{route="_unmatched",code="431",method="_other"} 1',
  )
})

t.test('header fields: none is dropped because there are many, so none can be hidden', async (t) => {
  const { port, domains } = await listening(t, { config: { maxHeaderSize: 32_768 } })
  const socket = await open(port)
  const body = '{"pinned":true}'
  // A proxy on this machine appends its own field to those of its client.
  socket.write(
    `PATCH ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
      `Connection: close\r\n${'a:\r\n'.repeat(3000)}X-Forwarded-For: 203.0.113.7\r\n\r\n${body}`,
  )
  t.match(await said(socket), /^HTTP\/1\.1 403 .*control_plane_off.*x-forwarded-for/s)
  t.equal(domains.get('colours').pinned, false)
})

t.test('an orderly end does not wait for a connection on which nothing was said', async (t) => {
  const { app, port } = await listening(t)
  const socket = await open(port)
  await until(async () => (await openConnections(app.server)) > 0)
  await app.close()
  t.equal(await said(socket), '')
})

t.test('slow requests: a head or a body that trickles is ended', async (t) => {
  const { port } = await listening(t, { config: { receiveTimeoutMs: 60 } })
  const begun = {
    head: 'GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ',
    body: `POST ${url}/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 3000\r\n\r\n`,
  }
  for (const [what, text] of Object.entries(begun)) {
    const socket = await open(port)
    socket.write(text)
    // Sending one byte at a time keeps the connection busy for as long as the server allows.
    const drip = setInterval(() => socket.write('x'), 5)
    const answer = await said(socket)
    clearInterval(drip)
    t.match(answer, /^HTTP\/1\.1 408 .*request_timeout/s, what)
  }
})

t.test('slow requests: a connection without any is closed', async (t) => {
  const { port } = await listening(t, { config: { keepAliveTimeoutMs: 30 } })
  const socket = await open(port)
  socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.match(await said(socket), /^HTTP\/1\.1 200 /, 'the server closes, not we')
})

t.test('compressed bodies are refused before they are read', async (t) => {
  const { app } = await testApp(t)
  const requests = [
    { method: 'POST', url: `${url}/predict`, headers: raw, payload: image(1) },
    { method: 'POST', url: '/v1/predict', ...multipart([{ name: 'colours', bytes: image(1) }]) },
    { method: 'PUT', url, headers: raw, payload: pack(['a', 'b']) },
    { method: 'PATCH', url, headers: {}, payload: { pinned: true } },
  ] as const
  for (const request of requests) {
    const send = (encoding: string) =>
      app.inject({ ...request, headers: { ...request.headers, 'content-encoding': encoding } })
    for (const encoding of ['gzip', 'br', 'gzip, identity', 'x'.repeat(500)]) {
      const answer = await send(encoding)
      t.match(answer.json(), { status: 415, code: 'unsupported_media_type', detail: /Content-Encoding/ })
      t.equal(answer.headers['accept-encoding'], 'identity')
      t.ok(answer.json().detail.length < 250)
    }
    t.equal((await send('identity')).statusCode, 200)
  }
})

t.test('an error names the index even of the only image of a list', async (t) => {
  const { app } = await testApp(t)
  const bodies = {
    mixed: {
      method: 'POST',
      url: '/v1/predict',
      ...multipart([{ name: 'colours', bytes: Buffer.from('junk') }]),
    },
    multipart: {
      method: 'POST',
      url: `${url}/predict`,
      ...multipart([{ name: 'x', bytes: Buffer.from('junk') }]),
    },
    json: { method: 'POST', url: `${url}/predict`, payload: { images: ['anVuaw=='] } },
  } as const
  for (const [what, request] of Object.entries(bodies))
    t.match((await app.inject(request)).json(), { code: 'undecodable_image', index: 0 }, what)
  const alone = await app.inject({ method: 'POST', url: `${url}/predict`, headers: raw, payload: 'junk' })
  t.equal(alone.json().index, undefined, 'a body that is the image needs none')
})

t.test('every change leaves an audit line, at every log level', async (t) => {
  const logs: Record<string, unknown>[] = []
  const logger = pino({ level: 'error' }, { write: (text: string) => void logs.push(JSON.parse(text)) })
  const { app, domains } = await testApp(t, { logger, adminToken: 'a-long-admin-token' })
  const authorization = 'Bearer a-long-admin-token'
  const send = (method: 'PUT' | 'PATCH' | 'POST' | 'DELETE', path: string, payload?: object | Buffer) =>
    app.inject({
      method,
      url: path,
      headers: Buffer.isBuffer(payload) ? { authorization, ...raw } : { authorization },
      ...(payload && { payload }),
    })
  await send('PUT', `${url}?activate=false`, pack(['a', 'b']))
  const [old, staged] = domains.get('colours').versions.map(({ version }) => version)
  await send('PATCH', url, { pinned: true })
  await send('POST', `${url}/activate`, { version: staged })
  await send('DELETE', `${url}/versions/${old}`)
  await send('DELETE', url)
  await send('DELETE', url)
  await app.inject({ method: 'DELETE', url: '/v1/domains/shapes' })
  const [put, pin, activate, removeVersion, remove, again, refused] = logs
  const who = { caller: 'admin', domain: 'colours', peer: '127.0.0.1', msg: 'audit' }
  t.match(put, {
    ...who,
    audit: 'domain.put',
    outcome: 'done',
    version: staged,
    activate: false,
    family: 'tiny',
  })
  t.match(pin, { ...who, audit: 'domain.patch', outcome: 'done', version: old, pinned: true })
  t.match(activate, { ...who, audit: 'version.activate', outcome: 'done', version: staged, family: 'tiny' })
  t.match(removeVersion, { ...who, audit: 'version.delete', outcome: 'done', version: old })
  t.match(remove, { ...who, audit: 'domain.delete', outcome: 'done', version: staged })
  t.match(again, { ...who, audit: 'domain.delete', outcome: 'refused', code: 'unknown_domain' })
  t.match(refused, { caller: 'anonymous', outcome: 'refused', code: 'unauthorized', status: 401 })
  t.equal(logs.length, 7)
  const silent = pino({ level: 'silent' }, { write: () => t.fail('silent is silent') })
  const quiet = await testApp(t, { logger: silent })
  t.equal((await quiet.app.inject({ method: 'DELETE', url })).statusCode, 204)
})
