/** What the dashboard asks the service for, and what it makes of answers that come late, or never. */
import t from 'tap'

/** Modules for browsers are checked with a browser's types (public/tsconfig.json), and so have none here. */
const browserModule = (name: string) => import(new URL(`../public/dashboard/${name}`, import.meta.url).href)
const { Api, ApiError, tokenProblem } = await browserModule('api.js')
const { Service } = await browserModule('service.js')
const { predict } = await browserModule('predict.js')

interface Asked {
  path: string
  signal: unknown
  answer(body: unknown): void
  fail(error: unknown): void
}

/** An API whose answers the test gives, one request after the other. */
function heldApi() {
  const asked: Asked[] = []
  const json = (path: string, options: { signal?: unknown } = {}) =>
    new Promise((answer, fail) => asked.push({ path, signal: options.signal, answer, fail }))
  const next = (path: string) => {
    const found = asked.findIndex((request) => request.path.startsWith(path))
    return asked.splice(found, 1)[0]!
  }
  /** Answers a read of families and domains. */
  const about = (...domains: string[]) => {
    next('v1/families').answer({ families: [] })
    next('v1/domains').answer({ domains: domains.map((domain) => ({ domain })), next_cursor: null })
  }
  return { api: { json, text: json }, asked, next, about }
}

const names = (service: { state: { domains: { domain: string }[] } }) =>
  service.state.domains.map(({ domain }) => domain)

/** A service whose version was read, so that only families, domains and counters are asked for. */
async function begun() {
  const held = heldApi()
  const service = new Service(held.api)
  const first = service.refresh()
  held.next('').answer({ families: [], version: '1' })
  held.next('v1/domains').answer({ domains: [], next_cursor: null })
  held.next('').answer({ version: '1' })
  await first
  return { ...held, service }
}

t.test('a listing that was asked for earlier does not replace a later one', async (t) => {
  const { service, next, about } = await begun()
  const before = service.refresh()
  const [families, domains] = [next('v1/families'), next('v1/domains')]
  const after = service.refresh()
  about('cats', 'dogs')
  await after
  families.answer({ families: [] })
  domains.answer({ domains: [{ domain: 'cats' }], next_cursor: null })
  await before
  t.same(names(service), ['cats', 'dogs'])
})

t.test('with another token all is read anew, and what the one before was told is dropped', async (t) => {
  const { service, asked, next, about } = await begun()
  const read = service.refresh()
  about('cats')
  await read
  const cards = service.readCards([{ domain: 'cats', version: 'a'.repeat(64) }])
  const card = next('v1/domains/cats')
  const late = service.refresh()
  const [families, domains] = [next('v1/families'), next('v1/domains')]
  t.equal(asked.length, 0, 'a change is no reason to read the counters')

  const renewed = service.renew()
  t.match(service.state, { families: null, domains: [], readings: [], tokens: 1 })
  about('dogs')
  next('metrics').answer('process_start_time_seconds 1')
  await renewed
  families.fail(new ApiError('no', { status: 401 }))
  domains.answer({ domains: [], next_cursor: null })
  card.answer({ card: { name: 'Cats' } })
  await Promise.all([late, cards])
  t.same(names(service), ['dogs'])
  t.equal(service.state.failure, null)
  t.equal(service.state.readings.length, 1)
  t.equal(service.state.cards.size, 0)
})

t.test('no reading waits for ever, and the page says why it has nothing new', async (t) => {
  const { service, asked } = await begun()
  void service.renew()
  t.equal(asked.length, 3)
  for (const { path, signal } of asked) t.ok(signal instanceof AbortSignal, path)

  const late = new DOMException('late', 'TimeoutError')
  const api = new Api('http://host/')
  const answers = [() => Promise.reject(late), async () => ({ ok: true, text: () => Promise.reject(late) })]
  for (const value of answers) {
    t.intercept(globalThis, 'fetch', { value })
    await t.rejects(api.json('v1/families'), { message: 'The service has not answered in time.', status: 0 })
  }
})

t.test('a token that no header field can hold is told of before it is sent', async (t) => {
  for (const token of ['a-token_0123~', '  pasted with spaces \n', '']) t.equal(tokenProblem(token), '')
  t.match(tokenProblem('a\u2013token'), /another character, U\+2013\./)
  t.match(tokenProblem('a\ttoken'), /U\+0009/)
})

/** Predictions for an image of many domains, by a service that refuses as `refuse` says. */
async function predicted(domains: number, refuse: (parts: string[]) => unknown) {
  const image = new File(['x'], 'one.png')
  const parts = Array.from({ length: domains }, (_, index) => ({ domain: `d${index}`, image }))
  const send = async (_: string, { body }: { body: FormData }) => {
    const asked = [...body.keys()]
    const error = refuse(asked)
    if (error) throw error
    return { json: async () => ({ results: asked.map((domain) => ({ domain })) }), headers: new Headers() }
  }
  const { outcomes, requests } = await predict({ send }, parts, {
    labels: 1,
    signal: new AbortController().signal,
  })
  const refused = outcomes.filter(({ error }: { error?: unknown }) => error !== undefined).length
  return { refused, answered: outcomes.length - refused, requests }
}

t.test('an image that cannot be read is asked about once, however many domains', async (t) => {
  const broken = new ApiError('broken', { status: 422, code: 'undecodable_image', index: 0 })
  t.same(await predicted(80, () => broken), { refused: 80, answered: 0, requests: 1 })
})

t.test('a domain that is refused does not keep the others from being answered', async (t) => {
  const refuse = (parts: string[]) => {
    const index = parts.indexOf('d2')
    return index >= 0 && new ApiError('failed', { status: 503, code: 'domain_failed', index })
  }
  t.same(await predicted(5, refuse), { refused: 1, answered: 4, requests: 2 })
  const outside = new ApiError('odd', { status: 500, code: 'internal', index: 99 })
  t.same(await predicted(5, () => outside), { refused: 5, answered: 0, requests: 1 }, 'and it always ends')
})
