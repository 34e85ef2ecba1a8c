/** Common mistakes of clients: each is told what it is, and what to do instead. */
import type { InjectOptions } from 'fastify'
import t from 'tap'
import type { Principal } from '../src/http/access/tokens.js'
import { image, multipart, sha256, testApp } from './http-app.js'

const post = (url: string, request: InjectOptions = {}) => ({ method: 'POST' as const, url, ...request })

t.test('a mistyped domain', async (t) => {
  const { app } = await testApp(t)
  const detail = /no domain "colour"; did you mean 'colours'\? GET/
  const requests: InjectOptions[] = [
    post('/v1/domains/colour/predict', { payload: image(1) }),
    post('/v1/domains/colour/embed', { payload: image(1) }),
    post('/v1/domains/colour/activate', { payload: { version: 'abcdef' } }),
    { method: 'GET', url: '/v1/domains/colour' },
    { method: 'GET', url: '/v1/domains/colour/versions' },
    { method: 'GET', url: '/v1/domains/colour/pack' },
    { method: 'PATCH', url: '/v1/domains/colour', payload: { pinned: true } },
    { method: 'DELETE', url: '/v1/domains/colour' },
    { method: 'DELETE', url: '/v1/domains/colour/versions/abcdef' },
  ]
  for (const request of requests) {
    const answer = await app.inject(request)
    t.match(
      answer.json(),
      { status: 404, code: 'unknown_domain', detail },
      `${request.method} ${request.url}`,
    )
  }
  const parts = [
    { name: 'colours', bytes: image(1) },
    { name: 'shades', bytes: image(1) },
    { name: 'shape', bytes: image(1) },
  ]
  t.match((await app.inject(post('/v1/predict', multipart(parts.slice(0, 2))))).json(), {
    status: 404,
    index: 1,
    detail: /"shades"; did you mean 'shapes'/,
  })
  t.match((await app.inject({ method: 'GET', url: '/v1/domains/other' })).json(), {
    detail: 'There is no domain "other"; GET /v1/domains lists them.',
  })
})

t.test('a mistyped domain: only domains that the caller may see are named', async (t) => {
  const principal: Principal = {
    id: 'acme',
    source: 'line 1',
    digest: Buffer.from(sha256('token'), 'hex'),
    scopes: new Set(['predict']),
    domains: new Set(['shapes', 'colour', 'shapez']),
  }
  const { app } = await testApp(t, { principals: () => [principal] })
  const ask = async (domain: string) =>
    (await app.inject({ url: `/v1/domains/${domain}`, headers: { authorization: 'Bearer token' } })).json()
  t.match(await ask('colour'), { status: 404, detail: /^There is no domain "colour"; GET/ })
  t.match(await ask('shapez'), { status: 404, detail: /did you mean 'shapes'/ })
  t.match(await ask('colours'), { status: 403 })
})

t.test('a slash at the end of a path', async (t) => {
  const { app } = await testApp(t)
  for (const url of [
    '/v1/domains/',
    '/v1/domains/?limit=1',
    '/v1/domains/colours/',
    '/v1/domains/colours/versions/',
    '/v1/domains/colours/predict/',
    '/v1/predict//',
    '/livez/',
  ]) {
    const detail = 'There is nothing at this path; leave out the slash at its end.'
    t.match((await app.inject(url)).json(), { status: 404, code: 'not_found', detail }, url)
  }
  t.match((await app.inject('/v1/nowhere/')).json(), {
    status: 404,
    detail: 'There is nothing at this path.',
  })
  t.equal((await app.inject('/')).statusCode, 200)
})
