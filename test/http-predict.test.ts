import t from 'tap'
import { parseTokens } from '../src/http/access/tokens.js'
import { image, multipart, pack, sha256, testApp } from './http-app.js'

const colours = sha256(pack(['red', 'green', 'blue']))
const shapes = sha256(pack(['round', 'square']))
const jpeg = { 'content-type': 'image/jpeg' }

t.test('a raw image is answered with the best labels first', async (t) => {
  const { app } = await testApp(t)
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict?top_k=2',
    headers: jpeg,
    payload: image(2, 2, 1),
  })
  t.equal(answer.statusCode, 200)
  const [result] = answer.json().results
  t.equal(result.domain, 'colours')
  t.equal(result.version, colours)
  t.strictSame(
    result.predictions.map(({ label, index }: { label: string; index: number }) => [label, index]),
    [
      ['blue', 2],
      ['green', 1],
    ],
  )
  t.ok(result.predictions[0].score > result.predictions[1].score)
  t.match(
    answer.headers['server-timing'],
    /^decode;dur=\d+\.\d{3}, queue;dur=\d+\.\d{3}, inference;dur=2\.000$/,
  )
})

t.test('top_k beyond the classes gives all of them, and the scores of a softmax sum to 1', async (t) => {
  const { app } = await testApp(t)
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict?top_k=50',
    headers: { 'content-type': 'application/octet-stream' },
    payload: image(0, 1),
  })
  const { predictions } = answer.json().results[0]
  t.equal(predictions.length, 3)
  const sum = predictions.reduce((total: number, { score }: { score: number }) => total + score, 0)
  t.ok(Math.abs(sum - 1) < 1e-6)
})

t.test('multipart and JSON keep the order of their images', async (t) => {
  const { app } = await testApp(t)
  const images = [image(0), image(1), image(2), image(1, 1)]
  const first = (answer: { json(): { results: { predictions: { label: string }[] }[] } }) =>
    answer.json().results.map(({ predictions }) => predictions[0]!.label)
  const expected = ['red', 'green', 'blue', 'green']

  const many = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    ...multipart(images.map((bytes, index) => ({ name: `file${index}`, bytes }))),
  })
  t.strictSame(first(many), expected)

  const encoded = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    payload: { images: images.map((bytes) => bytes.toString('base64')) },
  })
  t.strictSame(first(encoded), expected)

  const unnamed = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    ...multipart(images.map((bytes) => ({ name: 'file', bytes, filename: null }))),
  })
  t.strictSame(first(unnamed), expected, 'a part without a file name is bytes all the same')
})

t.test('mixed predict takes the domain from the part name', async (t) => {
  const { app } = await testApp(t)
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/predict?top_k=1',
    ...multipart([
      { name: 'shapes', bytes: image(1) },
      { name: 'colours', bytes: image(2) },
      { name: 'shapes', bytes: image(0) },
    ]),
  })
  t.equal(answer.statusCode, 200)
  t.strictSame(
    answer
      .json()
      .results.map((result: { domain: string; version: string; predictions: { label: string }[] }) => [
        result.domain,
        result.version,
        result.predictions[0]!.label,
      ]),
    [
      ['shapes', shapes, 'square'],
      ['colours', colours, 'blue'],
      ['shapes', shapes, 'round'],
    ],
  )
})

t.test('embed gives the features, also of a pack without a classifier', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('bare', pack(null), { activate: true })
  const embed = await app.inject({
    method: 'POST',
    url: '/v1/domains/bare/embed',
    headers: jpeg,
    payload: image(3, 3, 5),
  })
  t.equal(embed.statusCode, 200)
  t.strictSame(embed.json().results[0].features, [0, 0, 0, 2, 0, 1, 0, 0])

  const predict = await app.inject({
    method: 'POST',
    url: '/v1/domains/bare/predict',
    headers: jpeg,
    payload: image(3),
  })
  t.equal(predict.statusCode, 409)
  t.equal(predict.json().code, 'no_head')
  t.match(predict.json().detail, /embed/)
})

t.test('a version is served by its hash or a prefix, also a staged one', async (t) => {
  const { app, domains } = await testApp(t)
  const { version } = await domains.put('colours', pack(['a', 'b', 'c']), { activate: false })
  for (const named of [version, version.slice(0, 12)]) {
    const answer = await app.inject({
      method: 'POST',
      url: `/v1/domains/colours/predict?version=${named}`,
      headers: jpeg,
      payload: image(0),
    })
    t.equal(answer.json().results[0].version, version)
    t.equal(answer.json().results[0].predictions[0].label, 'a')
  }
})

const predict = '/v1/domains/colours/predict'
const good = { headers: jpeg, payload: image(1) }
const json = (payload: string) => ({ headers: { 'content-type': 'application/json' }, payload })
const half = multipart([{ name: 'a', bytes: image(1) }])
half.payload = half.payload.subarray(0, -20)

// biome-ignore format: one case a line
const refused: [string, string, object, number, string, RegExp][] = [
  ['unknown domain', '/v1/domains/nope/predict', good, 404, 'unknown_domain', /nope/],
  ['bad domain id', '/v1/domains/No_Caps/predict', good, 400, 'bad_domain_id', /No_Caps/],
  ['escaped path', '/v1/domains/%2e%2e%2fetc/predict', good, 400, 'bad_domain_id', /etc/],
  ['no domain', '/v1/domains//predict', good, 400, 'bad_domain_id', /domain id/],
  ['NUL', '/v1/domains/a%00b/predict', good, 400, 'bad_domain_id', /id/],
  ['64 characters', `/v1/domains/${'a'.repeat(64)}/predict`, good, 400, 'bad_domain_id', /63/],
  ['300 characters', `/v1/domains/${'a'.repeat(300)}/predict`, good, 400, 'malformed_request', /more than 256 characters.*63/],
  ['broken escape', '/v1/domains/%zz/predict', good, 400, 'malformed_request', /percent/],
  ['top_k 0', `${predict}?top_k=0`, good, 400, 'bad_parameter', /top_k/],
  ['top_k -1', `${predict}?top_k=-1`, good, 400, 'bad_parameter', /top_k/],
  ['top_k 1.5', `${predict}?top_k=1.5`, good, 400, 'bad_parameter', /top_k/],
  ['top_k empty', `${predict}?top_k=`, good, 400, 'bad_parameter', /top_k/],
  ['top_k huge', `${predict}?top_k=${'9'.repeat(30)}`, good, 400, 'bad_parameter', /top_k/],
  ['top_k twice', `${predict}?top_k=1&top_k=2`, good, 400, 'bad_parameter', /more than once/],
  ['misspelt', `${predict}?topk=1`, good, 400, 'bad_parameter', /topk.*top_k/],
  ['short version', `${predict}?version=abc`, good, 400, 'bad_parameter', /6 hex/],
  ['unknown version', `${predict}?version=abcdef123456`, good, 404, 'unknown_version', /abcdef/],
  ['not an image', predict, { headers: jpeg, payload: 'hello' }, 422, 'undecodable_image', /image/],
  ['empty raw', predict, { headers: jpeg, payload: '' }, 400, 'empty_body', /The body is empty/],
  ['nothing at all', predict, {}, 400, 'empty_body', /image\/\*/],
  ['wrong type', predict, { headers: { 'content-type': 'text/html' }, payload: 'x' }, 415, 'unsupported_media_type', /image\/\*.*text\/html/],
  ['raw to mixed', '/v1/predict', good, 415, 'unsupported_media_type', /multipart/],
  ['too large', predict, { headers: jpeg, payload: Buffer.alloc(5000) }, 413, 'body_too_large', /4096 bytes/],
  ['broken JSON', predict, json('{"images":'), 400, 'malformed_request', /JSON/],
  ['empty JSON', predict, json(''), 400, 'empty_body', /empty/],
  ['deep JSON', predict, json(`{"images":${'['.repeat(99)}${']'.repeat(99)}}`), 400, 'malformed_request', /nests/],
  ['brackets in a string', predict, json(`{"images":["${'['.repeat(99)}\\""]}`), 400, 'malformed_request', /base64/],
  ['other JSON', predict, { payload: { pictures: [] } }, 400, 'malformed_request', /images/],
  ['more JSON', predict, { payload: { images: ['SU1H'], url: 'http://x' } }, 400, 'malformed_request', /no other/],
  ['JSON list', predict, { payload: ['SU1H'] }, 400, 'malformed_request', /images/],
  ['JSON null', predict, json('null'), 400, 'malformed_request', /images/],
  ['images no list', predict, { payload: { images: 'SU1H' } }, 400, 'malformed_request', /list/],
  ['no images', predict, { payload: { images: [] } }, 400, 'empty_body', /empty/],
  ['5 images', predict, { payload: { images: Array(5).fill('SU1H') } }, 413, 'too_many_parts', /4/],
  ['no boundary', predict, { headers: { 'content-type': 'multipart/form-data' }, payload: 'x' }, 400, 'malformed_request', /multipart/],
  ['half multipart', predict, half, 400, 'malformed_request', /half-way/],
  ['no parts', predict, multipart([]), 400, 'empty_body', /no parts/],
  ['part __proto__', '/v1/predict', multipart([{ name: '__proto__', bytes: image(1) }]), 400, 'bad_domain_id', /__proto__/],
  ['part constructor', '/v1/predict', multipart([{ name: 'constructor', bytes: image(1) }]), 404, 'unknown_domain', /"constructor"/],
  ['5 parts', predict, multipart(Array(5).fill({ name: 'a', bytes: image(1) })), 413, 'too_many_parts', /4/],
  ['long parts', predict, multipart(Array(2).fill({ name: 'a', bytes: Buffer.alloc(2100) })), 413, 'body_too_large', /4096/],
]

for (const [name, url, request, status, code, detail] of refused) {
  t.test(`refused: ${name}`, async (t) => {
    const { app } = await testApp(t)
    const answer = await app.inject({ method: 'POST', url, ...request })
    t.equal(answer.statusCode, status)
    t.match(answer.headers['content-type'], 'application/problem+json')
    const problem = answer.json()
    t.match(problem, { code, status, type: `urn:facet:problem:${code}`, detail })
    t.equal(problem.request_id, answer.headers['x-request-id'])
    t.notMatch(answer.body, /node_modules|\.[jt]s\b|\n/, 'no stack, no path')
  })
}

t.test('one bad part fails the request and is named by its index', async (t) => {
  const { app } = await testApp(t)
  const bad: [string, Buffer, string][] = [
    ['shapes', Buffer.from('junk'), 'undecodable_image'],
    ['nope', image(1), 'unknown_domain'],
    ['No', image(1), 'bad_domain_id'],
    ['shapes', Buffer.alloc(0), 'empty_body'],
  ]
  for (const [name, bytes, code] of bad) {
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/predict',
      ...multipart([
        { name: 'colours', bytes: image(1) },
        { name, bytes },
        { name: 'colours', bytes: image(1) },
      ]),
    })
    t.equal(answer.json().code, code)
    t.equal(answer.json().index, 1, code)
  }
  const encoded = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    payload: { images: ['SU1HAAAA', 'SU1HAAAA', '!!!!'] },
  })
  t.equal(encoded.json().index, 2)
})

t.test("X-Request-Timeout sets the deadline, cut to the service's longest", async (t) => {
  const deadlines: number[] = []
  const clock = { now: () => 1000, date: () => new Date(0), after: () => () => {} }
  const { app } = await testApp(t, {
    clock,
    predictor: {
      async predict(_items, { deadline }) {
        deadlines.push(deadline!)
        return { results: [], timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 } }
      },
    },
  })
  const send = (timeout?: string) =>
    app.inject({
      method: 'POST',
      url: '/v1/domains/colours/predict',
      headers: { ...jpeg, ...(timeout === undefined ? {} : { 'x-request-timeout': timeout }) },
      payload: image(1),
    })
  for (const timeout of [undefined, '250', '99999999']) t.equal((await send(timeout)).statusCode, 200)
  t.strictSame(deadlines, [31_000, 1250, 61_000])
  for (const timeout of ['0', '-5', 'soon', '1e3', '']) {
    const answer = await send(timeout)
    t.equal(answer.statusCode, 400)
    t.match(answer.json().detail, /X-Request-Timeout/)
  }
})

t.test("a request is its token's, and without one its peer's", async (t) => {
  const asked: (string | undefined)[] = []
  const line = (id: string, token: string) =>
    JSON.stringify({ id, sha256: sha256(token), scopes: ['metrics'] })
  const principals = parseTokens(`${line('acme', 'one')}\n${line('acme', 'two')}\n`, 'tokens')
  const { app } = await testApp(t, {
    principals: () => principals,
    predictor: {
      async predict(_items, { principal }) {
        asked.push(principal)
        return { results: [], timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 } }
      },
    },
  })
  const send = (remoteAddress: string, authorization?: string) =>
    app.inject({
      method: 'POST',
      url: '/v1/domains/colours/predict',
      headers: { ...jpeg, ...(authorization && { authorization }) },
      payload: image(1),
      remoteAddress,
    })
  await send('192.0.2.7')
  await send('2001:db8::1')
  await send('2001:db8::2')
  await send('192.0.2.7', 'Bearer one')
  await send('192.0.2.8', 'Bearer two')
  await send('192.0.2.8', 'Bearer three')
  t.same(asked, [
    'peer 192.0.2.7',
    'peer 2001:db8:0:0::/64',
    'peer 2001:db8:0:0::/64',
    'token acme',
    'token acme',
    'peer 192.0.2.8',
  ])
})
