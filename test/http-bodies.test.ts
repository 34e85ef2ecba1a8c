/**
 * The bytes of bodies that requests hold at once are bounded, however the requests end; and no part of a body
 * is skipped.
 */
import { connect, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import t from 'tap'
import type { Predicting } from '../src/http/exchange/deps.js'
import { image, type TestAppOptions, testApp } from './http-app.js'

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

async function listening(t: Parameters<typeof testApp>[0], options: TestAppOptions) {
  const { app } = await testApp(t, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { app, port: (app.server.address() as AddressInfo).port }
}

async function announce(port: number, length: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n${length}\r\n\r\n`)
  return socket
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise(setImmediate)
}

t.test('a flood of large bodies never takes more memory than the bound', async (t) => {
  const { held, predictor } = holding()
  const { app } = await testApp(t, { predictor, config: { maxBody: SIZE, maxBodies: 3 * SIZE + 10 } })
  const post = () => app.inject({ method: 'POST', url: path, headers, payload: body })
  const flood = Array.from({ length: 40 }, post)
  const refused = []
  for (const request of flood) {
    const answer = await Promise.race([request, until(() => held.length === 3).then(() => undefined)])
    if (answer !== undefined) refused.push(answer)
  }
  t.equal(held.length, 3)
  for (const release of held.splice(0)) release()
  const answers = await Promise.all(flood)
  const codes = answers.map(({ statusCode }) => statusCode)
  t.equal(codes.filter((code) => code === 200).length, 3)
  t.equal(codes.filter((code) => code === 429).length, 37)
  const problem = answers.find(({ statusCode }) => statusCode === 429)!
  t.match(problem.json(), { code: 'too_many_bodies', detail: /3010, --max-bodies/ })
  t.equal(problem.headers['retry-after'], '1')

  const next = post()
  await until(() => held.length === 1)
  held.pop()!()
  t.equal((await next).statusCode, 200, 'what was answered has given its bytes back')
})

t.test(
  'the announced length counts before the body arrives, and is given back when the client leaves',
  async (t) => {
    const { held, predictor } = holding()
    const config = { maxBody: SIZE, maxBodies: 2 * SIZE }
    const { app, port } = await listening(t, { predictor, config })
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
    let requests = 0
    app.server.on('request', () => requests++)
    const announced = await announce(port, `Content-Length: ${SIZE}`)
    const unknown = await announce(port, 'Transfer-Encoding: chunked')
    await until(() => requests === 2)
    t.equal(await post(image(1)), 429)
    announced.destroy()
    await until(async () => (await post()) === 200)
    unknown.destroy()
    await until(async () => (await Promise.all([post(), post()])).every((status) => status === 200))
  },
)

t.test('a body refused on the way gives its bytes back', async (t) => {
  const { predictor } = holding()
  const { app } = await testApp(t, { predictor, config: { maxBody: SIZE, maxBodies: SIZE } })
  for (let i = 0; i < 3; i++) {
    const url = '/v1/predict'
    const wrong = { 'content-type': 'multipart/form-data; boundary=x' }
    const answer = await app.inject({ method: 'POST', url, headers: wrong, payload: body })
    t.not(answer.statusCode, 429)
    t.not(answer.statusCode, 200)
    t.equal((await app.inject({ method: 'POST', url: path, headers, payload: '' })).statusCode, 400)
  }
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
