import t from 'tap'
import { notLocal } from '../src/http/access/loopback.js'
import { parseTokens } from '../src/http/access/tokens.js'
import { image, multipart, pack, sha256, type TestAppOptions, testApp } from './http-app.js'

const raw = { 'content-type': 'application/octet-stream' }
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const url = '/v1/domains/colours'

/** Sends a change; its status tells whether it was refused. */
const change = { method: 'PATCH', url, payload: { pinned: true } } as const

t.test('an admin token guards every change, and the packs', async (t) => {
  const { app, domains } = await testApp(t, { adminToken: 'secret-1' })
  const version = domains.get('colours').version!
  const guarded = [
    change,
    { method: 'PUT', url, headers: raw, payload: pack(['a', 'b']) },
    { method: 'POST', url: `${url}/activate`, payload: { version } },
    { method: 'GET', url: `${url}/pack` },
    { method: 'HEAD', url: `${url}/pack` },
    { method: 'DELETE', url: `${url}/versions/${version}` },
    { method: 'DELETE', url },
  ] as const
  for (const request of guarded) {
    const none = await app.inject(request)
    t.equal(none.statusCode, 401, `${request.method} ${request.url}`)
    t.match(none.headers['www-authenticate'], 'Bearer')
    for (const authorization of [
      'Bearer secret-2',
      'Bearer ',
      'Basic c2VjcmV0LTE=',
      'Bearer secret-1 x',
      'secret-1',
      'Bearer secret-11',
    ]) {
      const wrong = await app.inject({
        ...request,
        headers: { ...('headers' in request ? request.headers : {}), authorization },
      })
      t.equal(wrong.statusCode, 401, authorization)
    }
  }
  t.equal(domains.get('colours').version, version, 'nothing changed')
  t.equal(domains.get('colours').pinned, false)
  t.equal((await app.inject({ ...change, headers: bearer('secret-1') })).statusCode, 200)
  t.equal((await app.inject({ ...change, headers: { authorization: 'bearer secret-1' } })).statusCode, 200)
  for (const open of [
    '/v1/domains',
    url,
    '/v1/family',
    '/v1/families',
    '/v1/families/tiny',
    '/metrics',
    '/livez',
    '/readyz',
    '/openapi.yaml',
    '/',
  ])
    t.equal((await app.inject(open)).statusCode, 200, open)
})

t.test('a token is required before a body is read', async (t) => {
  const { app } = await testApp(t, { adminToken: 'secret-1', predictToken: 'reader' })
  const put = await app.inject({ method: 'PUT', url, headers: raw, payload: Buffer.alloc(100_000) })
  t.equal(put.statusCode, 401)
  const predict = await app.inject({ method: 'POST', url: `${url}/predict`, headers: raw, payload: 'x' })
  t.equal(predict.statusCode, 401)
})

t.test('a predict token guards predictions and listings; the admin token opens them too', async (t) => {
  const { app } = await testApp(t, { adminToken: 'secret-1', predictToken: 'reader' })
  const requests = [
    { method: 'POST', url: `${url}/predict`, headers: raw, payload: image(1) },
    { method: 'POST', url: `${url}/embed`, headers: raw, payload: image(1) },
    { method: 'GET', url: '/v1/domains' },
    { method: 'GET', url },
    { method: 'GET', url: `${url}/versions` },
    { method: 'GET', url: '/v1/family' },
    { method: 'GET', url: '/v1/families' },
    { method: 'GET', url: '/v1/families/tiny' },
  ] as const
  for (const request of requests) {
    const headers = 'headers' in request ? request.headers : {}
    t.equal((await app.inject(request)).statusCode, 401, request.url)
    for (const token of ['reader', 'secret-1'])
      t.equal((await app.inject({ ...request, headers: { ...headers, ...bearer(token) } })).statusCode, 200)
  }
  const reader = await app.inject({ ...change, headers: bearer('reader') })
  t.match(reader.json(), { status: 403, code: 'forbidden' }, 'a reader changes nothing')
})

t.test('beyond loopback without an admin token the control plane is off, for everyone', async (t) => {
  for (const host of ['0.0.0.0', '::', '192.168.1.5', 'facet.internal']) {
    const { app } = await testApp(t, { config: { host }, predictToken: 'reader' })
    for (const headers of [{}, bearer('reader'), { host: 'localhost' }]) {
      const answer = await app.inject({ ...change, headers })
      t.equal(answer.statusCode, 403)
      t.equal(answer.json().code, 'control_plane_off')
      t.match(answer.json().detail, /FACET_ADMIN_TOKEN/)
    }
  }
})

t.test('without a token the control plane is open to local requests', async (t) => {
  for (const listens of ['127.0.0.1', 'localhost', '::1', '127.8.8.8']) {
    const { app } = await testApp(t, { config: { host: listens } })
    const hosts = ['localhost', 'LocalHost:8080', '127.0.0.1:8080', '127.3.2.1', '[::1]:8080', '[::1]']
    for (const host of hosts)
      t.equal((await app.inject({ ...change, headers: { host } })).statusCode, 200, host)
    for (const remoteAddress of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
      t.equal((await app.inject({ ...change, remoteAddress })).statusCode, 200, remoteAddress)
    const page = { host: 'localhost:8080', origin: 'http://localhost:8080', 'sec-fetch-site': 'same-origin' }
    t.equal((await app.inject({ ...change, headers: page })).statusCode, 200, 'its own page')
    const typed = { host: 'localhost:8080', 'sec-fetch-site': 'none' }
    t.equal((await app.inject({ ...change, headers: typed })).statusCode, 200, 'typed by a person')
  }
})

const attacks: [string, Record<string, string>, string?][] = [
  ['another machine', {}, '192.168.1.9'],
  ['another machine over IPv6', {}, 'fe80::1'],
  ['another machine, mapped', {}, '::ffff:10.0.0.1'],
  ['DNS rebinding', { host: 'evil.example:8080' }],
  ['DNS rebinding with a telling name', { host: '127.0.0.1.evil.example' }],
  ['DNS rebinding to localhost.evil.example', { host: 'localhost.evil.example:8080' }],
  ['user part in Host', { host: 'localhost@evil.example' }],
  ['Host of a public address', { host: '93.184.216.34:8080' }],
  ['Host 0.0.0.0', { host: '0.0.0.0:8080' }],
  ['cross-site form post', { host: 'localhost:8080', origin: 'https://evil.example' }],
  ['sandboxed frame', { host: 'localhost:8080', origin: 'null' }],
  ['page of another local port', { host: 'localhost:8080', origin: 'http://localhost:3000' }],
  ['Origin with our name in front', { host: 'localhost:8080', origin: 'http://localhost:8080.evil.example' }],
  ['cross-site fetch without Origin', { host: 'localhost:8080', 'sec-fetch-site': 'cross-site' }],
  ['same-site page', { host: 'localhost:8080', 'sec-fetch-site': 'same-site' }],
  ['proxy: X-Forwarded-For', { 'x-forwarded-for': '203.0.113.7' }],
  ['proxy: X-Forwarded-For says loopback', { 'x-forwarded-for': '127.0.0.1' }],
  ['proxy: X-Forwarded-Host', { 'x-forwarded-host': 'localhost' }],
  ['proxy: X-Forwarded-Proto', { 'x-forwarded-proto': 'https' }],
  ['proxy: Forwarded', { forwarded: 'for=203.0.113.7' }],
  ['proxy: Via', { via: '1.1 cache' }],
  ['proxy: X-Real-IP', { 'x-real-ip': '203.0.113.7' }],
]

for (const [name, headers, remoteAddress] of attacks) {
  t.test(`not local: ${name}`, async (t) => {
    const { app, domains } = await testApp(t, { config: { trustProxy: ['127.0.0.1'] } })
    const answer = await app.inject({ ...change, headers, ...(remoteAddress ? { remoteAddress } : {}) })
    t.equal(answer.statusCode, 403)
    t.equal(answer.json().code, 'control_plane_off')
    t.equal(domains.get('colours').pinned, false)
  })
}

t.test('a request without Host or without an IP peer is not local', async (t) => {
  t.equal(notLocal('127.0.0.1', { host: 'localhost' }), null)
  t.match(notLocal('127.0.0.1', {}), /Host/)
  t.match(notLocal('127.0.0.1', { host: '' }), /Host/)
  t.match(notLocal(undefined, { host: 'localhost' }), /machine/, 'a socket file has no address')
})

t.test('a trusted proxy names the client in the log, and never makes a request local', async (t) => {
  const { app, logs } = await testApp(t, { config: { trustProxy: ['10.0.0.0/8'] } })
  const answer = await app.inject({
    ...change,
    remoteAddress: '10.0.0.1',
    headers: { 'x-forwarded-for': '127.0.0.1' },
  })
  t.equal(answer.json().code, 'control_plane_off')
  t.match(
    logs.find(({ msg }) => msg === 'audit'),
    { peer: '127.0.0.1', outcome: 'refused', audit: 'domain.patch' },
  )
})

t.test('principals of a file', async (t) => {
  const lines = [
    { id: 'ops', sha256: sha256('old-admin'), scopes: ['admin'] },
    { id: 'ops', sha256: sha256('new-admin'), scopes: ['admin'] },
    { id: 'acme', sha256: sha256('acme-token'), scopes: ['predict'], domains: ['shapes', 'gone'] },
    { id: 'all', sha256: sha256('all-token'), scopes: ['predict'] },
    { id: 'scraper', sha256: sha256('scrape-token'), scopes: ['metrics'] },
  ]
  const principals = parseTokens(lines.map((line) => JSON.stringify(line)).join('\n\n'), 'tokens')
  const options: TestAppOptions = { principals: () => principals }

  t.test('two tokens of one principal are valid at once', async (t) => {
    const { app, logs } = await testApp(t, options)
    for (const token of ['old-admin', 'new-admin'])
      t.equal((await app.inject({ ...change, headers: bearer(token) })).statusCode, 200)
    t.equal((await app.inject(change)).statusCode, 401)
    t.equal(logs.filter(({ msg, caller }) => msg === 'audit' && caller === 'ops').length, 2)
  })

  t.test('a customer sees and uses its own domains only', async (t) => {
    const { app, domains } = await testApp(t, options)
    const get = (path: string) => app.inject({ url: path, headers: bearer('acme-token') })
    const list = (await get('/v1/domains')).json()
    t.strictSame(
      list.domains.map(({ domain }: { domain: string }) => domain),
      ['shapes'],
    )
    t.equal(list.next_cursor, null)
    await domains.put('gone', pack(['x', 'y']), { activate: true })
    const first = (await get('/v1/domains?limit=1')).json()
    t.equal(first.next_cursor, 'gone')
    t.equal((await get('/v1/domains?limit=1&cursor=gone')).json().domains[0].domain, 'shapes')
    t.equal((await get('/v1/domains/shapes')).statusCode, 200)
    for (const path of ['/v1/domains/colours', '/v1/domains/colours/versions', '/v1/domains/never'])
      t.match((await get(path)).json(), { status: 403, code: 'forbidden' }, path)

    const predict = (domain: string) =>
      app.inject({
        method: 'POST',
        url: `/v1/domains/${domain}/predict`,
        headers: { ...raw, ...bearer('acme-token') },
        payload: image(1),
      })
    t.equal((await predict('shapes')).statusCode, 200)
    t.equal((await predict('colours')).statusCode, 403)

    const { headers, payload } = multipart([
      { name: 'shapes', bytes: image(1) },
      { name: 'colours', bytes: image(1) },
    ])
    const mixed = await app.inject({
      method: 'POST',
      url: '/v1/predict',
      headers: { ...headers, ...bearer('acme-token') },
      payload,
    })
    t.match(mixed.json(), { status: 403, code: 'forbidden', index: 1 }, 'nor within a mixed request')
    t.equal((await app.inject({ ...change, headers: bearer('acme-token') })).statusCode, 403)
  })

  t.test('metrics are guarded as soon as a principal has their scope', async (t) => {
    const { app } = await testApp(t, options)
    const scrape = async (token?: string) =>
      (await app.inject({ url: '/metrics', ...(token ? { headers: bearer(token) } : {}) })).statusCode
    t.equal(await scrape(), 401)
    t.equal(await scrape('all-token'), 403)
    t.equal(await scrape('scrape-token'), 200)
    t.equal(await scrape('new-admin'), 200)
    t.equal(
      (await app.inject({ url: '/v1/domains', headers: bearer('scrape-token') })).statusCode,
      403,
      'and it opens nothing else',
    )
  })

  t.test('a file read again takes effect at once', async (t) => {
    let current = principals
    const { app } = await testApp(t, { principals: () => current })
    t.equal((await app.inject({ ...change, headers: bearer('old-admin') })).statusCode, 200)
    current = principals.slice(1)
    t.equal((await app.inject({ ...change, headers: bearer('old-admin') })).statusCode, 401)
    t.equal((await app.inject({ ...change, headers: bearer('new-admin') })).statusCode, 200)
  })
})

t.test('a wrong token file names its lines and shows no hash', async (t) => {
  const hash = sha256('token')
  const good = { id: 'a', sha256: hash, scopes: ['admin'] }
  const wrong: [unknown, RegExp][] = [
    ['not json', /line 2: is not a JSON object/],
    [[], /line 2: is not a JSON object/],
    [{ ...good, sha256: sha256('x'), id: 'a b' }, /line 2: id/],
    [{ ...good, sha256: 'abc' }, /line 2: sha256/],
    [{ ...good, sha256: sha256('x').toUpperCase() }, /line 2: sha256/],
    [good, /line 2: the same token as line 1/],
    [{ ...good, sha256: sha256('x'), scopes: [] }, /line 2: scopes/],
    [{ ...good, sha256: sha256('x'), scopes: ['root'] }, /line 2: scopes/],
    [{ ...good, sha256: sha256('x'), scopes: ['predict'], domains: ['No'] }, /line 2: domains must/],
    [{ ...good, sha256: sha256('x'), domains: ['a'] }, /line 2: domains goes with/],
    [{ ...good, sha256: sha256('x'), token: 'clear' }, /line 2: unknown field "token"/],
  ]
  for (const [line, message] of wrong) {
    const text = `${JSON.stringify(good)}\n${typeof line === 'string' ? line : JSON.stringify(line)}\n`
    try {
      parseTokens(text, 'tokens.jsonl')
      t.fail(`accepted ${String(message)}`)
    } catch (error) {
      t.match((error as Error).message, message)
      t.match((error as Error).message, 'tokens.jsonl')
      t.notMatch((error as Error).message, hash)
    }
  }
  t.throws(() => parseTokens('x\ny', 'f'), /line 1.*line 2/, 'all lines at once')
})

t.test('an empty token is an error and does not open the service', async (t) => {
  for (const adminToken of ['', ' ', 'two words', 'new\nline'])
    await t.rejects(testApp(t, { adminToken }), /admin token/)
})

t.test('a change leaves one audit line, with who, what and which request, and no secret', async (t) => {
  const { app, logs } = await testApp(t, { adminToken: 'secret-1' })
  const bytes = pack(['a', 'b'])
  await app.inject({
    method: 'PUT',
    url,
    headers: { ...raw, ...bearer('secret-1'), 'x-request-id': 'req-1' },
    payload: bytes,
  })
  await app.inject({ ...change, headers: bearer('wrong-token') })
  const audit = logs.filter(({ msg }) => msg === 'audit')
  t.equal(audit.length, 2)
  t.match(audit[0], {
    audit: 'domain.put',
    outcome: 'done',
    domain: 'colours',
    version: sha256(bytes),
    caller: 'admin',
    requestId: 'req-1',
    peer: '127.0.0.1',
    status: 200,
  })
  t.match(audit[1], { audit: 'domain.patch', outcome: 'refused', code: 'unauthorized', caller: 'anonymous' })
  t.notMatch(JSON.stringify(logs), /secret-1|wrong-token/)
})
