/**
 * The bytes of bodies that requests hold at once are bounded, however the requests end; and no part of a body
 * is skipped.
 */
import type { Socket } from 'node:net'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import t from 'tap'
import type { Predicting } from '../src/http/exchange/deps.js'
import { listening, open } from './connections.js'
import { image, pack, testApp } from './http-app.js'
import { ManualClock, settle } from './manual-clock.js'
import { until } from './until.js'

const SIZE = 1000
const path = '/v1/domains/colours/predict'
const headers = { 'content-type': 'image/png' }
const body = Buffer.concat([image(), Buffer.alloc(SIZE - 3)])

/** Requests stay with the predictor until the test lets them go. */
function holding() {
  const held: (() => void)[] = []
  const predictor: Predicting = {
    predict: async () => {
      await new Promise<void>((resolve) => held.push(resolve))
      return { results: [], timings: { decodeMs: 0, queueMs: 0, inferenceMs: 0 } }
    },
  }
  return { held, predictor }
}

async function announce(port: number, length: string, line = `POST ${path}`): Promise<Socket> {
  const socket = await open(port)
  socket.write(`${line} HTTP/1.1\r\nHost: localhost\r\n${length}\r\n\r\n`)
  return socket
}

/** Sends whole bodies; resolves to the status of those that are refused before `held` has `many` requests. */
async function flood(
  { app }: Awaited<ReturnType<typeof testApp>>,
  held: readonly unknown[],
  many: number,
  fields: (index: number) => Record<string, string>,
) {
  const all = Array.from({ length: 40 }, (_, index) =>
    app.inject({ method: 'POST', url: path, headers: { ...headers, ...fields(index) }, payload: body }),
  )
  await until(() => held.length >= many)
  return all
}

const from = (index: number) => ({ 'x-forwarded-for': `192.0.2.${index}` })
const behindProxy = { maxBody: SIZE, maxBodies: 10 * SIZE + 10, trustProxy: ['127.0.0.1'] }

t.test('a flood of bodies from many peers never takes more than the bound', async (t) => {
  const { held, predictor } = holding()
  const made = await testApp(t, { predictor, config: behindProxy })
  const all = await flood(made, held, 10, from)
  for (const release of held.splice(0)) release()
  const answers = await Promise.all(all)
  const codes = answers.map(({ statusCode }) => statusCode)
  t.equal(codes.filter((code) => code === 200).length, 10)
  t.equal(codes.filter((code) => code === 429).length, 30)
  const problem = answers.find(({ statusCode }) => statusCode === 429)!
  t.match(problem.json(), { code: 'too_many_bodies', detail: /hold 10000 bytes \(--max-bodies\)/ })
  t.equal(problem.headers['retry-after'], '1')

  const next = made.app.inject({ method: 'POST', url: path, headers, payload: body })
  await until(() => held.length === 1)
  held.pop()!()
  t.equal((await next).statusCode, 200, 'what was answered has given its bytes back')
})

t.test('a peer, and a token, may hold no more than is left for all others', async (t) => {
  const token = 'a-long-predict-token'
  const cases: [string, (index: number) => Record<string, string>, Record<string, string>][] = [
    ['a peer', () => from(1), from(2)],
    ['an IPv6 network', (index) => ({ 'x-forwarded-for': `2001:db8::${index + 1}` }), from(2)],
    [
      'a token',
      (index) => ({ ...from(index), authorization: `Bearer ${token}` }),
      { ...from(200), authorization: 'Bearer another-admin-token' },
    ],
  ]
  for (const [what, fields, other] of cases) {
    const { held, predictor } = holding()
    const tokens = what === 'a token' ? { predictToken: token, adminToken: 'another-admin-token' } : {}
    const made = await testApp(t, { predictor, config: behindProxy, ...tokens })
    const all = await flood(made, held, 5, fields)
    const quiet = Array.from({ length: 2 }, () =>
      made.app.inject({ method: 'POST', url: path, headers: { ...headers, ...other }, payload: body }),
    )
    await until(() => held.length === 7)
    for (const release of held.splice(0)) release()
    const answers = await Promise.all(all)
    t.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 5, what)
    const problem = answers.find(({ statusCode }) => statusCode === 429)!
    t.match(problem.json(), { code: 'too_many_bodies', detail: /your requests under way hold 5000 bytes/ })
    t.same(
      (await Promise.all(quiet)).map(({ statusCode }) => statusCode),
      [200, 200],
      'another one is served',
    )
  }
})

t.test('one body fits, even where no two do', async (t) => {
  const { app } = await testApp(t, { config: { maxBody: SIZE, maxBodies: SIZE } })
  t.equal((await app.inject({ method: 'POST', url: path, headers, payload: body })).statusCode, 200)
})

t.test('heads that announce bodies take nothing from anybody', async (t) => {
  const { app, port } = await listening(t, { config: { maxBody: SIZE, maxBodies: 4 * SIZE, maxUploads: 1 } })
  let requests = 0
  app.server.on('request', () => requests++)
  const idle = [
    ...Array.from({ length: 16 }, () => announce(port, `Content-Length: ${SIZE}`)),
    announce(port, 'Transfer-Encoding: chunked'),
    announce(port, 'Content-Length: 8000', 'PUT /v1/domains/idle'),
    announce(port, 'Content-Length: 8000', 'PUT /v1/domains/idle'),
  ]
  const sockets = await Promise.all(idle)
  await until(() => requests === idle.length)
  const post = () => app.inject({ method: 'POST', url: path, headers, payload: body })
  t.equal((await post()).statusCode, 200)
  const put = await app.inject({ method: 'PUT', url: '/v1/domains/new', payload: pack(['a', 'b']) })
  t.equal(put.statusCode, 201)
  for (const socket of sockets) socket.destroy()
})

t.test('bytes that came count, and are given back when the client leaves', async (t) => {
  const { held, predictor } = holding()
  const { app, port } = await listening(t, { predictor, config: { maxBody: SIZE, maxBodies: 4 * SIZE } })
  const post = async (payload = body) => {
    let status = 0
    void app.inject({ method: 'POST', url: path, headers, payload }).then(({ statusCode }) => {
      status = statusCode
    })
    await until(() => {
      for (const release of held.splice(0)) release()
      return status > 0
    })
    return status
  }
  const first = await announce(port, `Content-Length: ${SIZE}`)
  const second = await announce(port, 'Transfer-Encoding: chunked')
  first.write(body.subarray(1))
  second.write(`${(SIZE - 1).toString(16)}\r\n`)
  second.write(body.subarray(1))
  // This one holds nothing: it announces more than it has.
  const longer = { ...headers, 'content-length': String(SIZE) }
  const announcing = () => app.inject({ method: 'POST', url: path, headers: longer, payload: image(1) })
  await until(async () => (await announcing()).statusCode === 429)
  t.equal(await post(image(1)), 200, 'a short body fits')
  first.destroy()
  second.destroy()
  await until(async () => (await post()) === 200)
  await until(async () => (await Promise.all([post(), post()])).every((status) => status === 200))
})

t.test('a body refused on the way gives its bytes back', async (t) => {
  const { predictor } = holding()
  const { app } = await testApp(t, { predictor, config: { maxBody: SIZE, maxBodies: SIZE } })
  for (let i = 0; i < 3; i++) {
    const url = '/v1/predict'
    const wrong = { 'content-type': 'multipart/form-data; boundary=x' }
    const answer = await app.inject({ method: 'POST', url, headers: wrong, payload: body })
    t.equal(answer.statusCode, 400)
  }
})

t.test('a body that comes too slowly is refused, and its place is free', async (t) => {
  const clock = new ManualClock()
  const config = { maxBody: SIZE, maxBodies: SIZE, minBodyRate: 10 }
  const { app, port } = await listening(t, { clock, config })
  const slow = await announce(port, `Content-Length: ${SIZE}`)
  let answer = ''
  slow.on('data', (chunk) => {
    answer += chunk
  })
  // Fifty bytes in five seconds are enough, those that follow are not.
  slow.write(body.subarray(0, 60))
  const post = () => app.inject({ method: 'POST', url: path, headers, payload: body })
  const longer = { ...headers, 'content-length': String(SIZE) }
  const announcing = () => app.inject({ method: 'POST', url: path, headers: longer, payload: image(1) })
  await until(async () => (await announcing()).statusCode === 429)
  clock.advance(5000)
  await settle()
  t.equal(answer, '')
  clock.advance(4999)
  t.equal((await post()).statusCode, 429)
  clock.advance(1000)
  await once(slow, 'close')
  t.match(answer, /^HTTP\/1\.1 408 /)
  t.match(answer, /connection: close/i)
  t.match(answer, /"code":"request_timeout"/)
  t.match(answer, /0 bytes in 5 seconds\. 10 a second are the least \(--min-body-rate\)/)
  t.equal((await post()).statusCode, 200)
  clock.advance(1000)
  t.equal(clock.pending, 0, 'nobody is watched')
})

t.test('a part that is not form data is refused by its index, and none is passed over', async (t) => {
  const { app, domains } = await testApp(t)
  const part = (head: string) => Buffer.concat([Buffer.from(`--ed ge\r\n${head}\r\n`), image(1), crlf])
  const crlf = Buffer.from('\r\n')
  const sound = part('Content-Disposition: form-data; name="colours"; filename="a.png"\r\n')
  const cases: [string, string, RegExp, number?][] = [
    ['an attachment', 'Content-Disposition: attachment; name="colours"\r\n', /is "attachment; name=/, 1],
    ['no disposition', 'Content-Type: image/png\r\n', /no Content-Disposition/, 1],
    ['no head', '', /no Content-Disposition/, 1],
    ['a bad line before it', 'no colon\r\nContent-Disposition: form-data; name="a"\r\n', /"no colon"/, 1],
    ['two names', 'Content-Disposition: form-data; name="a"; name="b"\r\n', /gives "name" twice/, 1],
    ['a name without its end', 'Content-Disposition: form-data; name="a\r\n', /malformed at/, 1],
    [
      'another encoding',
      'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n',
      /Content-Transfer-Encoding "base64", which is not read/,
      1,
    ],
    ['no name', 'Content-Disposition: form-data; filename="b.png"\r\n', /part has no name/, 1],
    ['a name in another form', "Content-Disposition: form-data; name*=utf-8''a\r\n", /part has no name/, 1],
  ]
  const bodies = (head: string) => [
    Buffer.concat([sound, part(head), sound, Buffer.from('--ed ge--\r\n')]),
    Buffer.concat([sound, part(head), Buffer.from('--ed ge--')]),
  ]
  const send = (url: string, body: Buffer, piece: number) =>
    app.inject({
      method: url.endsWith('fresh') ? 'PUT' : 'POST',
      url,
      headers: {
        'content-type': 'multipart/form-data; charset=utf-8; boundary="ed ge"',
        'transfer-encoding': 'chunked',
      },
      payload: Readable.from(
        Array.from({ length: Math.ceil(body.length / piece) }, (_, i) =>
          body.subarray(i * piece, (i + 1) * piece),
        ),
      ),
    })
  for (const [what, head, detail, index] of cases)
    for (const body of bodies(head))
      for (const piece of [1, 50, 10_000]) {
        const answer = await send(path, body, piece)
        t.match(answer.json(), { status: 400, code: 'malformed_request', detail }, `${what}, ${piece}`)
        t.equal(answer.json().index, index, 'which part')
      }
  for (const piece of [1, 50, 10_000]) {
    const answer = await send(path, Buffer.concat([sound, sound, Buffer.from('--ed ge--')]), piece)
    t.equal(answer.json().results?.length, 2, 'and the sound ones are all taken')
  }
  const pack = Buffer.concat([part(cases[0]![1]), Buffer.from('--ed ge--')])
  t.match((await send('/v1/domains/fresh', pack, 99)).json(), {
    status: 400,
    code: 'malformed_request',
    index: 0,
  })
  t.equal(domains.active, 0)
})
