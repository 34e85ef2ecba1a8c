import t from 'tap'
import { FacetError } from '../src/errors.js'
import { account, image, multipart, pack, servedFamilies, testApp } from './http-app.js'

const raw = { 'content-type': 'application/octet-stream' }

t.test('a harmless request id is echoed, any other is replaced', async (t) => {
  const { app } = await testApp(t)
  const id = async (given?: string) =>
    (await app.inject({ url: '/livez', headers: given === undefined ? {} : { 'x-request-id': given } }))
      .headers['x-request-id'] as string
  t.equal(await id('trace-1.A_b'), 'trace-1.A_b')
  t.equal(await id('x'.repeat(128)), 'x'.repeat(128))
  for (const bad of ['x'.repeat(129), 'a b', 'a"b', '', undefined]) t.match(await id(bad), /^[0-9a-f-]{36}$/)
  t.not(await id(), await id())
})

t.test('every answer carries the security headers', async (t) => {
  const { app } = await testApp(t, { predictToken: 'reader' })
  for (const [url, status] of [
    ['/livez', 200],
    ['/v1/domains', 401],
    ['/nowhere', 404],
    ['/v1/domains/%zz', 400],
  ] as const) {
    const { headers, statusCode } = await app.inject(url)
    t.equal(statusCode, status)
    t.match(headers, {
      'x-content-type-options': 'nosniff',
      'content-security-policy': /default-src 'none'/,
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
      'x-request-id': /./,
    })
    t.notOk(headers['access-control-allow-origin'], 'no other site may read')
  }
})

t.test('an unknown path is 404; a method that a path does not have is 405, with those it has', async (t) => {
  const { app } = await testApp(t)
  for (const url of ['/nope', '/v1', '/v1/domains/a/b/c', '/V1/domains', '//livez']) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 404, url)
    t.match(answer.json(), { code: 'not_found', type: 'urn:facet:problem:not_found' })
  }
  const methods: [string, 'PUT' | 'POST' | 'GET' | 'OPTIONS' | 'DELETE', string][] = [
    ['/v1/domains', 'POST', 'GET, HEAD'],
    ['/v1/domains/colours', 'POST', 'GET, HEAD, DELETE, PATCH, PUT'],
    ['/v1/predict', 'GET', 'POST'],
    ['/v1/domains/colours/predict?top_k=1', 'PUT', 'POST'],
    ['/metrics', 'OPTIONS', 'GET, HEAD'],
  ]
  for (const [url, method, allow] of methods) {
    const answer = await app.inject({ url, method })
    t.equal(answer.statusCode, 405, `${method} ${url}`)
    t.equal(answer.headers.allow, allow)
    t.equal(answer.json().code, 'method_not_allowed')
  }
  const body = await app.inject({
    method: 'POST',
    url: '/nope',
    headers: { 'content-type': 'text/strange' },
    payload: Buffer.alloc(100_000),
  })
  t.equal(body.statusCode, 404, 'its body is not looked at')
})

t.test('an internal error is answered without its details, and logged under the request id', async (t) => {
  const { app, logs } = await testApp(t, {
    predictor: {
      async predict() {
        throw new Error('ENOENT /srv/secret/place')
      },
    },
  })
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    headers: { ...raw, 'x-request-id': 'find-me' },
    payload: image(1),
  })
  t.equal(answer.statusCode, 500)
  t.match(answer.json(), { code: 'internal', request_id: 'find-me' })
  t.notMatch(answer.body, /ENOENT|secret/)
  const line = logs.find(({ level, requestId }) => level === 50 && requestId === 'find-me')
  t.match(JSON.stringify(line), /ENOENT/)
})

t.test('refusals that are temporary carry Retry-After', async (t) => {
  const errors: [FacetError, number, string][] = [
    [new FacetError('queue_full', 'x', { retryAfter: 2.2 }), 429, '3'],
    [new FacetError('load_timeout', 'x', { retryAfter: 0.1 }), 503, '1'],
    [new FacetError('engine_restarting', 'x'), 503, '1'],
  ]
  for (const [error, status, retryAfter] of errors) {
    const { app } = await testApp(t, { predictor: { predict: () => Promise.reject(error) } })
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/domains/colours/predict',
      headers: raw,
      payload: image(1),
    })
    t.equal(answer.statusCode, status)
    t.equal(answer.headers['retry-after'], retryAfter)
  }
})

t.test('readiness and draining', async (t) => {
  let ready = false
  let draining = false
  const { app } = await testApp(t, {
    readiness: () => (ready ? { ready } : { ready, reason: 'The engine is starting.' }),
    draining: () => draining,
  })
  const not = await app.inject('/readyz')
  t.equal(not.statusCode, 503)
  t.match(not.json(), { code: 'engine_restarting', detail: 'The engine is starting.' })
  t.ok(not.headers['retry-after'])
  t.equal((await app.inject('/livez')).statusCode, 200, 'alive all the same')
  ready = true
  t.strictSame((await app.inject('/readyz')).json(), { status: 'ready' })
  draining = true
  t.match((await app.inject('/readyz')).json(), { status: 503, code: 'draining' })
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    headers: raw,
    payload: image(1),
  })
  t.equal(answer.statusCode, 200, 'what still comes is answered by the rules below')
  t.equal(answer.headers.connection, 'close')
})

t.test('requests are counted by the pattern of their route', async (t) => {
  const { app } = await testApp(t)
  await app.inject('/v1/domains/colours')
  await app.inject('/v1/domains/shapes')
  await app.inject('/v1/domains/nobody-knows')
  await app.inject('/some/path/of/an/attacker')
  await app.inject('/v1/domains/%zz')
  await app.inject({ method: 'POST', url: '/livez' })
  await app.inject({
    method: 'POST',
    url: '/v1/predict',
    ...multipart([{ name: 'shapes', bytes: Buffer.from('junk') }]),
  })
  const { body } = await app.inject('/metrics')
  t.match(body, 'facet_requests_total{route="/v1/domains/{domain}",code="200",method="GET"} 2')
  t.match(body, 'facet_requests_total{route="/v1/domains/{domain}",code="404",method="GET"} 1')
  t.match(body, 'facet_requests_total{route="_unmatched",code="404",method="GET"} 1')
  t.match(body, 'facet_requests_total{route="_unmatched",code="405",method="POST"} 1')
  t.match(body, 'facet_requests_total{route="_unmatched",code="400",method="GET"} 1')
  t.match(body, 'facet_requests_total{route="/v1/predict",code="422",method="POST"} 1')
  t.notMatch(body, /nobody-knows|attacker/)
})

t.test('a request leaves one log line', async (t) => {
  const { app, logs } = await testApp(t)
  await app.inject({ url: '/v1/domains/colours', headers: { 'x-request-id': 'one' } })
  const lines = logs.filter(({ requestId }) => requestId === 'one')
  t.equal(lines.length, 1)
  t.match(lines[0], {
    msg: 'request',
    method: 'GET',
    route: '/v1/domains/{domain}',
    status: 200,
    caller: 'anonymous',
  })
  await app.inject('/livez')
  t.equal(logs.filter(({ level }) => (level as number) >= 30).length, 1, 'probes are quiet')
})

t.test('the family shows its slots, its bytes and the memory account', async (t) => {
  const { app } = await testApp(t)
  const { statusCode, body } = await app.inject('/v1/family')
  t.equal(statusCode, 200)
  t.match(JSON.parse(body), {
    name: 'tiny',
    design: 'parallel',
    features: 8,
    slots: [{ name: 'c1', in: 3, out: 4 }],
    bytes: { 'trunk.onnx': 400 },
    execution: { provider: 'cpu', precision: 'fp32', lanes: 1, max_batch: 4, bank_dtype: 'f32' },
    memory: {
      trunk_bytes: 1000,
      adapter_bytes: 500,
      head_bytes: 50,
      specialised: { networks: 1, bytes: 5 },
      rows: { used: 2, capacity: 8 },
      dedicated_bytes: 3000,
      saving: 2,
    },
  })
  t.notOk('note' in JSON.parse(body).memory)
})

t.test('a family that takes more than dedicated networks says why', async (t) => {
  const [family] = servedFamilies
  const memory = () => ({ ...account, saving: 0.5, note: 'Because.' })
  const { app } = await testApp(t, { families: [{ ...family, memory }] })
  t.match((await app.inject('/v1/family')).json().memory, { saving: 0.5, note: 'Because.' })
})

t.test('HEAD answers as GET without a body', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('pets', pack(['cat', 'dog']), { activate: true })
  const head = await app.inject({ method: 'HEAD', url: '/v1/domains/pets' })
  t.equal(head.statusCode, 200)
  t.equal(head.body, '')
  t.equal(head.headers.etag, `"${domains.get('pets').version}"`)
})
