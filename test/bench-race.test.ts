/** The race's load generator: what it counts, on a clock that the server moves. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { load, type LoadJob, type LoadResult } from '../bench/race/load.js'

/** Time that each answer takes, ms. */
const ANSWER_MS = 10

interface Load extends Partial<LoadJob> {
  answer?: (request: IncomingMessage, response: ServerResponse, number: number) => void
}

interface Seen {
  result: LoadResult
  /** Paths and bodies, in the order of the requests. */
  requests: string[]
  events: string[]
  pauses: number[]
}

/** `end` after `writeHead` would send no Content-Length. */
function say(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  response.end(text)
}

const ok = (_: IncomingMessage, response: ServerResponse) => say(response, 200, '{"results": []}')

/** Runs a load of one connection against a server of its own. */
async function run(t: Test, { answer = ok, ...job }: Load): Promise<Seen> {
  let now = 0
  let cpuMs = 0
  const seen: Omit<Seen, 'result'> = { requests: [], events: [], pauses: [] }
  const server = createServer(async (request, response) => {
    const body = await request.setEncoding('latin1').toArray()
    now += ANSWER_MS
    cpuMs += 1
    seen.requests.push(`${request.url} ${body.join('')}`)
    answer(request, response, seen.requests.length)
  })
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const whole: LoadJob = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    path: '/{domain}',
    domains: ['a', 'b', 'c'],
    connections: 1,
    warmSeconds: 0.05,
    seconds: 0.1,
    seed: 1,
    timeoutSeconds: 20,
    ...job,
  }
  const images = ['one', 'two', 'three'].map((text) => Buffer.from(text))
  const result = await load(whole, images, {
    now: () => now,
    cpuMs: () => cpuMs,
    said: (event) => seen.events.push(`${event} at ${now}`),
    async pause(ms) {
      seen.pauses.push(ms)
      now += ms
    },
  })
  return { result, ...seen }
}

t.test('only answers within the window count, and both its ends are told', async (t) => {
  const { result, requests, events } = await run(t, {})
  t.same(events, ['begin at 50', 'end at 150'])
  t.equal(requests.length, 15, 'five in the warm-up, ten in the window')
  // The answer at its very end is the first one that is too late.
  t.match(result, { answered: 10, failed: 0, failure: null, failedInWarmUp: 0 })
  t.match(result, { seconds: 0.1, rate: 100, p50: ANSWER_MS, p99: ANSWER_MS, max: ANSWER_MS, cores: 0.1 })
})

t.test('the same seed draws the same domains and images, another seed others', async (t) => {
  const [first, again, other] = [await run(t, {}), await run(t, {}), await run(t, { seed: 2 })]
  t.same(first.requests, again.requests)
  t.not(first.requests.join(), other.requests.join())
  const seen = first.requests.concat(other.requests).join()
  for (const part of ['/a', '/b', '/c', 'one', 'two', 'three']) t.ok(seen.includes(part), part)
})

t.test('an answer that is no 200 has failed; the next request waits a little', async (t) => {
  const { result, pauses } = await run(t, {
    answer: (_, response, number) => say(response, number === 8 ? 503 : 200, `number ${number}`),
  })
  t.match(result, { failed: 1, failure: 'HTTP 503: number 8', failedInWarmUp: 0 })
  t.equal(result.answered, 7, 'the rest of the window, less the pause')
  t.same(pauses, [20])
})

t.test('failures in the warm-up are told apart', async (t) => {
  const { result } = await run(t, {
    answer: (_, response, number) => say(response, number === 1 ? 404 : 200, '{}'),
  })
  t.match(result, { failed: 0, failedInWarmUp: 1, failure: 'HTTP 404: {}', answered: 10 })
})

t.test('a failure after the window is nobody’s', async (t) => {
  const { result } = await run(t, {
    answer: (_, response, number) => say(response, number === 15 ? 500 : 200, '{}'),
  })
  t.match(result, { answered: 10, failed: 0, failure: null, failedInWarmUp: 0 })
})

t.test('a connection that breaks has failed, and a new one goes on', async (t) => {
  const { result } = await run(t, {
    answer(request, response, number) {
      if (number === 8) request.socket.destroy()
      else ok(request, response)
    },
  })
  t.equal(result.failed, 1)
  t.equal(result.answered, 7)
})

t.test('a server that stays silent is a failure after the time limit', async (t) => {
  const { result } = await run(t, { warmSeconds: 0, timeoutSeconds: 0.02, answer() {} })
  t.match(result, { answered: 0, failure: 'no answer in 0.02 s' })
  t.ok(result.failed > 0)
})

t.test('a window in which nothing is answered has no latencies', async (t) => {
  const { result } = await run(t, { answer: (_, response) => say(response, 500, 'no') })
  t.match(result, { answered: 0, rate: 0, p50: null, p99: null, max: null })
  t.ok(result.failed > 0)
})
