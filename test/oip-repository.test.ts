/** The model repository extension: the index, packs that come as files, unloading and loading. */
import t, { type Test } from 'tap'
import { pack, sha256, testApp, type TestAppOptions } from './http-app.js'

const at = (model: string, action: string) => `/v2/repository/models/${model}/${action}`

async function repository(t: Test, options: TestAppOptions = {}) {
  const made = await testApp(t, options)
  /** Posts without a content type, as tritonclient does. */
  const post = async (url: string, body?: object | string, headers: Record<string, string> = {}) => {
    const payload = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
    const answer = await made.app.inject({
      method: 'POST',
      url,
      headers,
      ...(payload && { payload: Buffer.from(payload) }),
    })
    return { status: answer.statusCode, body: answer.json() }
  }
  return { ...made, post }
}

const ready = (name: string, version: string) => ({ name, version, state: 'READY', reason: '' })

t.test('the index lists two models for each domain, in order', async (t) => {
  const { post, domains } = await repository(t)
  const colours = domains.get('colours').version!
  const shapes = domains.get('shapes').version!
  const { version: bare } = await domains.put('bare', pack(null), { activate: true })
  await domains.put('staged', pack(['a']), { activate: false })
  const inactive = { version: '', state: 'UNAVAILABLE', reason: 'no version is active' }
  const models = [
    ready('bare:features', bare),
    ready('colours', colours),
    ready('colours:features', colours),
    ready('shapes', shapes),
    ready('shapes:features', shapes),
    { name: 'staged', ...inactive },
    { name: 'staged:features', ...inactive },
  ]
  t.strictSame(await post('/v2/repository/index'), { status: 200, body: models })
  t.strictSame(await post('/v2/repository/index', {}), { status: 200, body: models })
  t.strictSame(await post('/v2/repository/index', { ready: true }), { status: 200, body: models.slice(0, 5) })
  t.match(await post('/v2/repository/index', { ready: 1 }), { status: 400, body: { error: /'ready'/ } })
})

t.test('an index of many domains is whole', async (t) => {
  const { post, domains } = await repository(t)
  for (let index = 0; index < 100; index++) await domains.put(`d${index}`, pack(['a']), { activate: true })
  const { body } = await post('/v2/repository/index')
  t.equal(body.length, 204)
  t.equal(new Set(body.map(({ name }: { name: string }) => name)).size, 204)
})

t.test('a pack that comes as a file is registered and active', async (t) => {
  const { app, post, domains } = await repository(t)
  for (const labels of [['a', 'b'], Array.from({ length: 400 }, (_, index) => `class ${index}`)]) {
    const bytes = pack(labels)
    const file = { 'file:1/model.safetensors': bytes.toString('base64') }
    const answer = await post(at('new', 'load'), { parameters: { config: '{"backend": "any"}', ...file } })
    t.strictSame(answer, { status: 200, body: { name: 'new', load: true } })
    t.match(domains.get('new'), { version: sha256(bytes), classes: labels.length })
  }
  t.match((await app.inject('/v2/models/new')).json(), { outputs: [{ shape: [-1, 400] }] })
})

t.test('unloading keeps the versions, and loading serves the domain again', async (t) => {
  const { app, post, domains } = await repository(t)
  const { version } = domains.get('colours')
  const unload = { parameters: { unload_dependents: false } }
  t.strictSame(await post(at('colours', 'unload'), unload), {
    status: 200,
    body: { name: 'colours', unload: true },
  })
  for (const path of ['colours/ready', 'colours:features/ready', 'colours']) {
    const answer = await app.inject(`/v2/models/${path}`)
    t.match([answer.statusCode, answer.json()], [404, { error: /no active version/ }], path)
  }
  t.equal((await app.inject(`/v2/models/colours/versions/${version}/ready`)).statusCode, 200)
  t.match(await post(at('colours', 'load'), {}), { status: 200 })
  t.equal(domains.get('colours').version, version)
  t.equal((await app.inject('/v2/models/colours/ready')).statusCode, 200)
  t.same(domains.warmed, [])
  t.match(await post(at('colours', 'load')), { status: 200 })
  t.same(domains.warmed, ['colours'], 'it was served already')
})

t.test('a request that is refused changes nothing', async (t) => {
  const { post, domains } = await repository(t)
  const before = domains.list({ limit: 10 })
  const base64 = pack(['a']).toString('base64')
  const cases: [url: string, body: object | string | undefined, status: number, error: RegExp][] = [
    [at('nope', 'load'), undefined, 404, /no domain "nope"/],
    [at('nope', 'unload'), undefined, 404, /no domain "nope"/],
    [at('base', 'unload'), undefined, 404, /no domain "base"/],
    [at('colours:features', 'load'), {}, 400, /name the model 'colours'/],
    [at('colours:features', 'unload'), {}, 400, /name the model 'colours'/],
    [at('COLOURS', 'load'), {}, 400, /not a domain id/],
    [at('colours', 'load'), '[1]', 400, /must be an object/],
    [at('colours', 'load'), '{', 400, /not JSON/],
    [at('colours', 'load'), { parameters: { 'file:a': base64, 'file:b': base64 } }, 400, /has several/],
    [at('colours', 'load'), { parameters: { 'file:a': 7 } }, 400, /base64 string/],
    [at('colours', 'load'), { parameters: { 'file:a': 'a$' } }, 400, /The file is not base64/],
    [at('colours', 'load'), { parameters: { 'file:a': 'anVuaw==' } }, 422, /header: not JSON\ntensors: none/],
    [at('colours', 'load'), { parameters: { 'file:a': 'a'.repeat(9000) } }, 413, /--max-pack/],
    [at('colours', 'unload'), '{', 400, /not JSON/],
  ]
  for (const [url, body, status, error] of cases)
    t.match(
      await post(url, body),
      { status, body: { error } },
      `${url} ${JSON.stringify(body)?.slice(0, 60)}`,
    )
  t.strictSame(domains.list({ limit: 10 }), before)
})

t.test('changes need the admin scope, and leave an audit line', async (t) => {
  const { post, logs, domains } = await repository(t, { adminToken: 'keeper', predictToken: 'reader' })
  const reader = { authorization: 'Bearer reader' }
  const keeper = { authorization: 'Bearer keeper' }
  t.match(await post('/v2/repository/index'), { status: 401 })
  t.match(await post('/v2/repository/index', {}, reader), { status: 200 })
  for (const action of ['load', 'unload']) {
    t.match(await post(at('colours', action), {}), { status: 401, body: { error: /Send a token/ } })
    t.match(await post(at('colours', action), {}, reader), { status: 403, body: { error: /'admin'/ } })
  }
  const { version } = domains.get('colours')
  t.match(await post(at('colours:features', 'load'), {}, keeper), { status: 400 })
  t.match(await post(at('colours', 'unload'), {}, keeper), { status: 200 })
  t.match(await post(at('colours', 'load'), {}, keeper), { status: 200 })
  t.match(
    logs.filter(({ msg, outcome }) => msg === 'audit' && outcome === 'done'),
    [
      { audit: 'domain.unload', domain: 'colours', version, caller: 'admin', status: 200 },
      { audit: 'domain.load', domain: 'colours', version, family: 'tiny', caller: 'admin', status: 200 },
    ],
  )
  const refused = logs.filter(({ msg, outcome }) => msg === 'audit' && outcome === 'refused')
  t.same(
    refused.map(({ domain }) => domain),
    Array.from({ length: 5 }, () => 'colours'),
  )
})

t.test('a web page cannot change anything where no token is needed', async (t) => {
  const { post, domains } = await repository(t)
  for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
    t.match(await post(at('colours', 'unload'), {}, headers), {
      status: 403,
      body: { error: /local requests/ },
    })
  }
  t.ok(domains.get('colours').version)
})
