/** Web pages of other sites: none may read answers unless its origin is given. */
import t from 'tap'
import { image, testApp } from './http-app.js'

const page = 'https://app.example.com'
const predict = '/v1/domains/colours/predict'
const raw = { 'content-type': 'application/octet-stream' }
const preflight = (url: string, origin = page) => ({
  method: 'OPTIONS' as const,
  url,
  headers: {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'content-type',
  },
})
const fieldsOf = (headers: object) =>
  Object.keys(headers).filter((name) => /^access-control|^vary$/.test(name))

t.test('off unless given', async (t) => {
  const { app } = await testApp(t)
  const asked = await app.inject(preflight(predict))
  t.equal(asked.statusCode, 405)
  const answer = await app.inject({
    method: 'POST',
    url: predict,
    headers: { ...raw, origin: page },
    payload: image(1),
  })
  t.equal(answer.statusCode, 200)
  t.same([...fieldsOf(asked.headers), ...fieldsOf(answer.headers)], [])
})

t.test('a page of a given origin reads answers and errors, and their fields', async (t) => {
  const { app } = await testApp(t, { config: { corsOrigins: ['http://other.example', page] } })
  for (const [payload, status] of [
    [image(1), 200],
    ['junk', 422],
  ] as const) {
    const answer = await app.inject({
      method: 'POST',
      url: predict,
      headers: { ...raw, origin: page },
      payload,
    })
    t.equal(answer.statusCode, status)
    t.match(answer.headers, { 'access-control-allow-origin': page, vary: 'Origin' })
    t.match(answer.headers['access-control-expose-headers'], /\bETag\b.*\bRetry-After\b.*\bX-Request-Id\b/)
    t.notOk(answer.headers['access-control-allow-credentials'])
  }
})

t.test('a preflight request gets the methods of its path and the fields that routes read', async (t) => {
  const { app } = await testApp(t, { config: { corsOrigins: [page] } })
  const answer = await app.inject(preflight('/v1/domains/colours'))
  t.equal(answer.statusCode, 204)
  t.equal(answer.body, '')
  t.match(answer.headers, {
    'access-control-allow-origin': page,
    'access-control-max-age': '7200',
    vary: 'Origin',
  })
  const methods = String(answer.headers['access-control-allow-methods']).split(', ')
  t.same(methods.sort(), ['DELETE', 'GET', 'HEAD', 'PATCH', 'PUT'])
  t.match(answer.headers['access-control-allow-headers'], /Authorization, Content-Type, If-Match/)
  t.equal((await app.inject(preflight('/v1/nothing'))).statusCode, 404)
  const plain = await app.inject({ method: 'OPTIONS', url: predict, headers: { origin: page } })
  t.equal(plain.statusCode, 405, 'OPTIONS that asks for nothing is an unknown method')
})

t.test('other origins get nothing, and caches are told that the answer depends on it', async (t) => {
  const { app } = await testApp(t, { config: { corsOrigins: [page] } })
  for (const origin of ['https://evil.example', `${page}.evil.example`, 'null']) {
    const asked = await app.inject(preflight(predict, origin))
    t.equal(asked.statusCode, 405, origin)
    t.same(fieldsOf(asked.headers), ['vary'], origin)
  }
  t.same(fieldsOf((await app.inject('/v1/domains')).headers), ['vary'])
})

t.test('* is any origin', async (t) => {
  const { app } = await testApp(t, { config: { corsOrigins: ['*'] } })
  const answer = await app.inject({ url: '/v1/domains', headers: { origin: 'null' } })
  t.match(answer.headers, { 'access-control-allow-origin': '*' })
  t.notOk(answer.headers.vary)
})

t.test('a given origin opens nothing: the control plane still wants a token of a page', async (t) => {
  const { app } = await testApp(t, { config: { corsOrigins: [page] } })
  const answer = await app.inject({ method: 'DELETE', url: '/v1/domains/colours', headers: { origin: page } })
  t.match(answer.json(), { status: 403, code: 'control_plane_off' })
  t.equal(answer.headers['access-control-allow-origin'], page)
})
