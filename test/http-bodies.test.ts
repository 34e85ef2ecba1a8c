/** The bytes of bodies that requests hold at once are bounded, whatever becomes of the requests. */
import { connect, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import type { Predicting } from '../src/http/deps.js'
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

t.test('a flood of large bodies never holds more than the bound', async (t) => {
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

t.test('what was announced counts before it arrives, and a client that leaves gives it back', async (t) => {
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
})

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
