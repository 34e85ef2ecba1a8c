/** `/v2`: server, health, and what is told of models. */
import t from 'tap'
import { image, pack, sha256, testApp } from './http-app.js'

t.test('a domain is two models: its classifier and its features', async (t) => {
  const { app, domains } = await testApp(t)
  const old = sha256(pack(['red', 'green', 'blue']))
  const { version } = await domains.put('colours', pack(['red', 'green', 'blue', 'grey']), { activate: true })
  const input = { name: 'image', datatype: 'UINT8', shape: [-1, 8, 8, 3] }
  const classifier = await app.inject('/v2/models/colours')
  t.equal(classifier.statusCode, 200)
  t.strictSame(classifier.json(), {
    name: 'colours',
    versions: [version, old],
    platform: 'facet_onnx',
    inputs: [input],
    outputs: [{ name: 'scores', datatype: 'FP32', shape: [-1, 4] }],
  })
  const before = await app.inject(`/v2/models/colours/versions/${old.slice(0, 8)}`)
  t.match(before.json(), { name: 'colours', outputs: [{ shape: [-1, 3] }] })
  for (const name of ['colours:features', 'colours%3Afeatures']) {
    const features = { name: 'features', datatype: 'FP32', shape: [-1, 8] }
    t.match((await app.inject(`/v2/models/${name}`)).json(), {
      name: 'colours:features',
      inputs: [input],
      outputs: [features],
    })
  }
})

t.test('the configuration says what a client for images needs', async (t) => {
  const { app } = await testApp(t, { config: { maxImages: 4 } })
  t.strictSame((await app.inject('/v2/models/shapes/config')).json(), {
    name: 'shapes',
    platform: 'facet_onnx',
    max_batch_size: 4,
    input: [{ name: 'image', data_type: 'TYPE_UINT8', format: 'FORMAT_NHWC', dims: [8, 8, 3] }],
    output: [{ name: 'scores', data_type: 'TYPE_FP32', dims: [2] }],
    parameters: { family: { string_value: 'tiny' } },
  })
})

t.test('a domain without classifier has its features alone', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('bare', pack(null), { activate: true })
  for (const path of ['', '/config', '/ready']) {
    const answer = await app.inject(`/v2/models/bare${path}`)
    t.equal(answer.statusCode, 404)
    t.match(answer.json(), { error: /has no classifier.*'bare:features'/ })
    t.equal((await app.inject(`/v2/models/bare:features${path}`)).statusCode, 200)
  }
})

t.test('models, versions and names that are not there are 404 and 400', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('staged', pack(['a']), { activate: false })
  const cases: [url: string, status: number, error: RegExp][] = [
    ['/v2/models/colour', 404, /did you mean 'colours'/],
    ['/v2/models/colours/versions/abcdef12', 404, /no version/],
    ['/v2/models/colours:other', 400, /is not a domain id/],
    ['/v2/models/COLOURS', 400, /is not a domain id/],
    ['/v2/models/staged', 404, /./],
    ['/v2/nothing', 404, /nothing at this path/],
    ['/v2/models/colours/trace/setting', 404, /nothing at this path/],
    ['/v2/', 404, /leave out the slash/],
  ]
  for (const [url, status, error] of cases) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, status, url)
    t.strictSame(Object.keys(answer.json()), ['error'], url)
    t.match(answer.json(), { error }, url)
    t.match(answer.headers['content-type'], /^application\/json/)
  }
})

t.test('health follows the service; a model is ready as far as the service is', async (t) => {
  let ready = true
  const { app } = await testApp(t, { readiness: () => ({ ready, reason: 'Not yet.' }) })
  t.strictSame((await app.inject('/v2')).json(), {
    name: 'facet',
    version: '0.0.0',
    extensions: [
      'binary_tensor_data',
      'classification',
      'model_configuration',
      'model_repository',
      'statistics',
    ],
  })
  const urls = ['/v2/health/ready', '/v2/models/colours/ready', '/v2/models/colours:features/ready']
  for (const url of urls) t.match(await app.inject(url), { statusCode: 200 }, url)
  t.strictSame((await app.inject(urls[1]!)).json(), { name: 'colours', ready: true })
  ready = false
  for (const url of urls) {
    const answer = await app.inject(url)
    t.match(answer, { statusCode: 503, headers: { 'retry-after': '1' } }, url)
    t.strictSame(answer.json(), { error: 'Not yet.' })
  }
  t.match(await app.inject('/v2/health/live'), { statusCode: 200 })
})

t.test('what is told of models needs the predict scope, health does not', async (t) => {
  const { app } = await testApp(t, { predictToken: 'reader' })
  for (const url of ['/v2', '/v2/health/live', '/v2/health/ready'])
    t.equal((await app.inject(url)).statusCode, 200, url)
  for (const url of ['/v2/models/colours', '/v2/models/colours/config', '/v2/models/colours/ready']) {
    const refused = await app.inject(url)
    t.equal(refused.statusCode, 401, url)
    t.ok(refused.headers['www-authenticate'])
    const headers = { authorization: 'Bearer reader' }
    t.equal((await app.inject({ url, headers })).statusCode, 200, url)
  }
})

t.test('the failures of other planes stay what they are', async (t) => {
  const { app } = await testApp(t)
  t.match((await app.inject('/v1/domains/nope')).json(), { code: 'unknown_domain' })
  const sent = await app.inject({ method: 'POST', url: '/v2/models/colours', payload: image(1) })
  t.match(sent, { statusCode: 405, headers: { allow: 'GET, HEAD' } })
})
