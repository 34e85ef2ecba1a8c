/** The client that the commands and the TypeScript package share, against the HTTP application. */
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { FacetClient } from '../src/client/client.js'
import { Connection } from '../src/client/connection.js'
import { inOrder } from '../src/client/in-order.js'
import { image, pack, sha256, testApp, type TestAppOptions } from './http-app.js'

const red = image(0, 0, 1)
const round = image(0)

async function served(t: Test, options: TestAppOptions = {}, token?: string) {
  const { app, domains } = await testApp(t, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return { client: new FacetClient({ url, ...(token !== undefined && { token }) }), url, domains }
}

t.test('predictions and features, of one image, of several, of several domains', async (t) => {
  const { client } = await served(t)
  const [one] = await client.predict('colours', red, { topK: 1 })
  t.match(one, { domain: 'colours', predictions: [{ label: 'red', index: 0 }] })
  t.equal(one?.predictions.length, 1)
  const several = await client.predict('colours', [red, image(2)])
  t.same(
    several.map(({ predictions }) => predictions[0]?.label),
    ['red', 'blue'],
  )
  const mixed = await client.predictMixed([
    { domain: 'shapes', image: round },
    { domain: 'colours', image: new Blob([red]) },
  ])
  t.same(
    mixed.map(({ domain }) => domain),
    ['shapes', 'colours'],
  )
  const [features] = await client.embed('colours', red)
  t.same(features?.features, [2, 1, 0, 0, 0, 0, 0, 0])
})

t.test('domains: listed over pages, shown, registered, switched, pinned, downloaded, deleted', async (t) => {
  const { client } = await served(t)
  const next = pack(['cat', 'dog'])
  const version = sha256(next)
  t.match(await client.put('pets', next, { create: true }), { domain: 'pets', uploaded: version, version })
  await t.rejects(client.put('pets', next, { create: true }), { code: 'precondition_failed' })
  const staged = pack(['cow'])
  t.match(await client.put('pets', staged, { activate: false }), { uploaded: sha256(staged), version })
  t.match(await client.activate('pets', sha256(staged).slice(0, 12), { ifVersion: version }), {
    version: sha256(staged),
  })
  await t.rejects(client.pin('pets', true, { ifVersion: version }), { code: 'precondition_failed' })
  t.match(await client.pin('pets', true), { pinned: true })
  t.match(await client.domain('pets'), { card: { labels: ['cow'] } })
  t.match(await client.card('pets'), '# pets')
  const got = await client.pack('pets', { version: version.slice(0, 8) })
  t.equal(got.version, version)
  t.same(Buffer.from(got.bytes), next)
  const ids: string[] = []
  for await (const { domain } of client.domains()) ids.push(domain)
  t.same(ids, ['colours', 'pets', 'shapes'])
  await client.remove('pets', { version })
  await client.remove('pets')
  await t.rejects(client.domain('pets'), {
    status: 404,
    code: 'unknown_domain',
    message: /There is no domain/,
  })
})

t.test('families', async (t) => {
  const { client } = await served(t)
  const { families } = await client.families()
  t.equal(families[0]?.name, 'tiny')
  t.equal((await client.family()).features, 8)
  await t.rejects(client.family('a/b'), { code: 'unknown_family' })
})

t.test('a token is sent, and a refusal says what is wrong', async (t) => {
  const options = { adminToken: 'admin-token-123456', predictToken: 'predict-token-123' }
  const { client, url } = await served(t, options, 'predict-token-123')
  t.equal((await client.predict('colours', red)).length, 1)
  await t.rejects(client.remove('colours'), { code: 'forbidden' })
  const refused = new FacetClient({ url }).predict('colours', red)
  await t.rejects(refused, { name: 'ApiProblem', status: 401, code: 'unauthorized', requestId: /.+/ })
})

t.test('the image that is wrong is named', async (t) => {
  const { client } = await served(t)
  await t.rejects(client.predict('colours', [red, Buffer.from('junk')]), {
    code: 'undecodable_image',
    index: 1,
  })
})

/** A connection whose answers are given one after the other, and what it waited and how often it asked. */
function scripted(answers: (Response | Error)[], retries = 3) {
  const waits: number[] = []
  let asked = 0
  const connection = new Connection({
    retries,
    fetch: async () => {
      const answer = answers[Math.min(asked++, answers.length - 1)]!
      if (answer instanceof Error) throw answer
      return answer.clone()
    },
    wait: async (ms) => void waits.push(ms),
  })
  const send = (method = 'GET', headers?: Record<string, string>) =>
    connection.send(method, '/', headers ? { headers } : {})
  return { send, waits, asked: () => asked }
}

const full = (retryAfter?: string) =>
  Response.json(
    { code: 'queue_full', detail: 'Full.' },
    { status: 429, headers: retryAfter ? { 'retry-after': retryAfter } : {} },
  )

t.test('a service that is full is asked again, after the time that it names', async (t) => {
  const { send, waits } = scripted([
    full('2'),
    new Response('', { status: 503 }),
    full('3600'),
    new Response('fine'),
  ])
  t.equal(await (await send()).text(), 'fine')
  t.same(waits, [2000, 500, 30_000], 'its time, our own where it names none, half a minute at most')
})

t.test('a service that does not answer is asked again, and given up in the end', async (t) => {
  const lost = Object.assign(new TypeError('fetch failed'), { cause: new Error('connect ECONNREFUSED') })
  const { send, waits, asked } = scripted([lost])
  await t.rejects(send(), { name: 'Unreachable', message: /does not answer: connect ECONNREFUSED\.$/ })
  t.equal(asked(), 4)
  t.same(waits, [250, 500, 1000])
})

t.test(
  'what may have been done already is not sent again where the second answer would be another',
  async (t) => {
    const lost = new TypeError('fetch failed')
    for (const [method, headers] of [
      ['DELETE', undefined],
      ['PUT', { 'If-None-Match': '*' }],
      ['PATCH', { 'if-match': '"abc"' }],
    ] as const) {
      const { send, asked } = scripted([lost])
      await t.rejects(send(method, headers), { name: 'Unreachable' })
      t.equal(asked(), 1, method)
    }
    const { send, asked } = scripted([full(), new Response('fine')])
    await send('DELETE')
    t.equal(asked(), 2, 'a service that is full has done nothing')
  },
)

t.test('a domain that cannot be loaded is no service that is full', async (t) => {
  const { send, asked } = scripted([
    Response.json({ code: 'domain_failed', detail: 'Damaged.' }, { status: 503 }),
  ])
  await t.rejects(send(), { code: 'domain_failed' })
  t.equal(asked(), 1)
})

t.test('what will not succeed later is asked once; answers of others are told by their status', async (t) => {
  for (const status of [400, 404, 500, 504]) {
    const { send, asked } = scripted([new Response('<html>', { status })])
    await t.rejects(send(), { status, code: 'unknown', message: `The answer has the status ${status}` })
    t.equal(asked(), 1)
  }
})

t.test('an answer that breaks off, and one that is no JSON', async (t) => {
  const answering = (body: ReadableStream | string) =>
    new FacetClient({ retries: 0, fetch: async () => new Response(body) })
  const broken = () =>
    answering(
      new ReadableStream({
        start: (stream) => stream.error(new TypeError('terminated')),
      }),
    )
  for (const asked of [() => broken().family(), () => broken().card('a'), () => broken().pack('a')])
    await t.rejects(async () => void (await asked()), { name: 'Unreachable', message: /terminated/ })
  await t.rejects(answering('<html>').family(), { name: 'ApiProblem', status: 200, code: 'unknown' })
})

t.test('an aborted request ends with the reason', async (t) => {
  const signal = AbortSignal.abort(new Error('enough'))
  const connection = new Connection({ fetch: (_url, init) => Promise.reject(init?.signal?.reason) })
  await t.rejects(connection.send('GET', '/', { signal }), { message: 'enough' })
})

t.test('work in order: results as the items, no more at once than asked for', async (t) => {
  const ends: ((value: string) => void)[] = []
  const work = (item: string) => new Promise<string>((resolve) => ends.push(() => resolve(item)))
  const results = inOrder(['a', 'b', 'c'], 2, work)
  const first = results.next()
  t.equal(ends.length, 2)
  ends[1]!('')
  ends[0]!('')
  t.equal((await first).value, 'a')
  t.equal((await results.next()).value, 'b', 'and the third has begun')
  ends[2]!('')
  t.same(await results.next(), { value: 'c', done: false })
  t.same(await results.next(), { value: undefined, done: true })
})

t.test('work in order: a failure comes at its place', async (t) => {
  const results = inOrder([1, 2, 3], 3, async (item) => {
    if (item === 2) throw new Error('two')
    return item
  })
  t.equal((await results.next()).value, 1)
  await t.rejects(results.next(), { message: 'two' })
})
