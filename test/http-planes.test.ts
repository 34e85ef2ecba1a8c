/**
 * Planes side by side: each has its own failures, header fields and bodies, and changes nothing of the
 * others.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { image, testApp, type TestAppOptions } from './http-app.js'

const page = { 'content-security-policy': "default-src 'self'", 'cache-control': 'no-cache' }

/** A plane with JSON errors and text bodies, below `/other`. */
async function other(app: FastifyInstance): Promise<void> {
  app.decorate('plane', {
    headers: { ...page, 'x-plane': 'other' },
    failureBody: ({ message }) => ({ type: 'application/json', body: JSON.stringify({ error: message }) }),
  })
  app.setNotFoundHandler(() => {})
  app.addContentTypeParser(
    'text/plain',
    { parseAs: 'string' },
    async (_request: unknown, text: string) => text,
  )
  app.get('/page', { config: { scope: 'open' } }, async () => 'page')
  const cached = { 'cache-control': 'max-age=60' }
  app.get('/cached', { config: { scope: 'open', headers: cached } }, async () => 'cached')
  app.get('/broken', { config: { scope: 'open', headers: cached } }, async () => {
    throw new Error('a secret')
  })
  app.get('/guarded', { config: { scope: 'predict' } }, async () => 'guarded')
  app.post('/echo', { config: { scope: 'open' } }, async ({ body }) => body)
}

async function withOther(t: Test, options: TestAppOptions = {}) {
  const made = await testApp(t, options)
  await made.app.register(other, { prefix: '/other' })
  return made
}

t.test('a plane has its own header fields, and a route of it may have others', async (t) => {
  const { app } = await withOther(t, { predictToken: 'reader' })
  const fields = async (url: string) => (await app.inject(url)).headers
  t.match(await fields('/other/page'), { ...page, 'x-plane': 'other', 'x-request-id': /./ })
  t.match(await fields('/other/cached'), { ...page, 'cache-control': 'max-age=60', 'x-plane': 'other' })
  t.match(await fields('/other/guarded'), { ...page, 'cache-control': 'no-store', 'x-plane': 'other' })
  for (const url of ['/v1/domains', '/v1/nowhere', '/livez', '/nowhere', '/otherwise', '/other%zz']) {
    const headers = await fields(url)
    t.match(headers, { 'content-security-policy': /default-src 'none'/, 'cache-control': 'no-store' }, url)
    t.notOk(headers['x-plane'], url)
  }
})

t.test('a plane answers failures in its own format; the rest is shared', async (t) => {
  const { app, logs } = await withOther(t, { predictToken: 'reader' })
  const unauthorized = await app.inject('/other/guarded')
  t.equal(unauthorized.statusCode, 401)
  t.strictSame(unauthorized.json(), { error: 'Send a token: Authorization: Bearer <token>.' })
  t.match(unauthorized.headers, { 'content-type': /^application\/json/, 'www-authenticate': /Bearer/ })
  const broken = await app.inject({ url: '/other/broken', headers: { 'x-request-id': 'find-me' } })
  t.equal(broken.statusCode, 500)
  t.notMatch(broken.body, /secret/)
  t.equal(broken.headers['cache-control'], 'no-store', 'no failure is cached, whatever its route says')
  t.match(
    JSON.stringify(logs.find(({ level, requestId }) => level === 50 && requestId === 'find-me')),
    /secret/,
  )
  const wrongMethod = await app.inject({ method: 'PUT', url: '/other/page' })
  t.match(wrongMethod, { statusCode: 405, headers: { allow: 'GET, HEAD' } })
  t.strictSame(Object.keys(wrongMethod.json()), ['error'])
  t.strictSame((await app.inject('/other/nowhere')).json(), { error: 'There is nothing at this path.' })
  for (const url of ['/v1/nowhere', '/nowhere', '/otherwise'])
    t.match((await app.inject(url)).json(), { code: 'not_found', status: 404 }, url)
  t.match(
    (await app.inject('/metrics')).body,
    'facet_requests_total{route="/other/broken",code="500",method="GET"} 1',
  )
})

t.test('a plane reads its own bodies, and no other does', async (t) => {
  const { app } = await withOther(t)
  const send = (url: string, type: string, payload: string | Buffer) =>
    app.inject({ method: 'POST', url, headers: { 'content-type': type }, payload })
  t.equal((await send('/other/echo', 'text/plain', 'hello')).body, 'hello')
  t.equal((await send('/other/echo', 'image/png', image(1))).statusCode, 415)
  t.equal((await send('/other/echo', 'application/json', '{}')).statusCode, 415)
  t.equal((await send('/v1/domains/colours/predict', 'image/png', image(1))).statusCode, 200)
  t.match((await send('/v1/domains/colours/predict', 'text/plain', 'hello')).json(), { status: 415 })
})

t.test('a request that breaks on its way is answered in the format of its plane', async (t) => {
  const { app } = await withOther(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const answerOf = async (path: string, type: string) => {
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    await once(socket, 'connect')
    const arrived = once(app.server, 'request')
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    )
    await arrived
    socket.write('no length\r\n')
    let text = ''
    for await (const chunk of socket) text += chunk
    return text
  }
  const text = await answerOf('/other/echo', 'text/plain')
  t.match(text, /^HTTP\/1\.1 400 .*x-plane: other\r\n.*\{"error":"This is not HTTP\/1\.1: [^"]+"\}$/s)
  t.match(text, /cache-control: no-store/)
  const problem = await answerOf('/v1/domains/colours/predict', 'image/png')
  t.match(problem, /^HTTP\/1\.1 400 .*application\/problem\+json.*"code":"malformed_request"/s)
})

t.test('a route without a scope does not start', async (t) => {
  const { app } = await testApp(t)
  const open = async (scope: FastifyInstance) => {
    scope.get('/open', async () => 'open')
  }
  await t.rejects(
    async () => app.register(open, { prefix: '/forgotten' }),
    /GET \/forgotten\/open declares no scope/,
  )
})
