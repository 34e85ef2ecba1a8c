/**
 * The plain way of doing it, one for each pain of docs/reliability.md: another body for a function or method
 * or two, and the test that must fail with it.
 */
import type { Change } from './patch.js'

export interface Variant {
  /** Its number in docs/reliability.md. */
  pain: number
  /** What the plain way does. */
  way: string
  changes: readonly Change[]
  /** The test file that must fail, `test/<test>.test.ts`. */
  test: string
  /** A test of that file that must fail; others may too. */
  fails: RegExp
}

const pains = 'service-pains'

export const variants: readonly Variant[] = [
  {
    pain: 1,
    way: 'requests take turns at the table of adapters, and each holds its turn while it waits for a load',
    changes: [
      {
        symbol: 'Registry.acquire',
        declares: 'let turn: Promise<unknown> = Promise.resolve()',
        body: `
          const next = turn.then(() => original(domain, version, options))
          turn = next.catch(() => {})
          return next`,
      },
    ],
    test: pains,
    fails: /pains 1 and 2/,
  },
  {
    pain: 2,
    way: 'one lock around all loads',
    changes: [
      {
        symbol: 'Packs.read',
        declares: 'let lock: Promise<unknown> = Promise.resolve()',
        body: `
          const next = lock.then(() => original(version))
          lock = next.catch(() => {})
          return next`,
      },
    ],
    test: pains,
    fails: /pains 1 and 2/,
  },
  {
    pain: 3,
    way: 'a load that finds no free row is refused instead of waiting for one',
    changes: [
      {
        symbol: 'Rows.reserve',
        body: `
          const claim = new AbortController()
          const reserved = original({ version, extent, principal }, claim.signal)
          // Of no effect where the row was reserved at once.
          claim.abort()
          return reserved.then((reservation) => {
            if (reservation === null) throw new FacetError('bank_full', 'No row is free.')
            return reservation
          })`,
      },
    ],
    test: pains,
    fails: /pain 3/,
  },
  {
    pain: 4,
    way: 'a deleted domain leaves the table, and its row and its file stay',
    changes: [
      { symbol: 'Residency.settle', body: '' },
      { symbol: 'Mutations.#collect', body: '' },
    ],
    test: pains,
    fails: /pains 4 and 12/,
  },
  {
    pain: 5,
    way: 'an upload is answered at once and takes effect soon after',
    changes: [{ symbol: 'Mutations.#write', body: 'void original(state, row)' }],
    test: 'service-hot-swap',
    fails: /replaced 50 times/,
  },
  {
    pain: 6,
    way: 'a row is freed with its domain, though requests still use it',
    changes: [
      {
        symbol: 'Rows.settle',
        body: `
          const resident = this.find(version)
          if (resident !== undefined && this.#standing(resident) === 'none') resident.references = 0
          original(version)`,
      },
    ],
    test: 'registry-versions',
    fails: /a request in flight keeps the row/,
  },
  {
    pain: 7,
    way: 'a pack goes live without a trial run',
    changes: [{ symbol: 'createCanary', body: 'return async () => {}' }],
    test: 'registry-engine',
    fails: /refused by its canary/,
  },
  {
    pain: 8,
    way: 'the base answers for a domain that is unknown',
    changes: [
      { symbol: 'Registry.has', body: 'return true' },
      { symbol: 'Catalog.sound', body: 'return original(this.get(domain) ? domain : BASE_DOMAIN)' },
    ],
    test: pains,
    fails: /pains 6 and 8/,
  },
  {
    pain: 9,
    way: 'names become paths unchecked',
    changes: [{ symbol: 'checkDomainId', body: 'return id' }],
    test: 'store-local',
    fails: /pain 9/,
  },
  {
    pain: 10,
    way: 'one route that nobody thought of asks for no token',
    changes: [
      {
        symbol: 'authorise',
        body: `
          if (request.url.endsWith('/pack')) return anyone
          return original(request, scope, principals, listensLocally)`,
      },
    ],
    test: pains,
    fails: /pain 10/,
  },
  {
    pain: 11,
    way: 'what is registered is in memory only',
    changes: [
      {
        symbol: 'LocalStore.writeRecord',
        body: `
          const { stored } = encode(record)
          this.#records.set(record.domain, stored)
          return stored.revision`,
      },
    ],
    test: 'service-restart',
    fails: /pain 11/,
  },
  {
    pain: 12,
    way: 'a new session for each adapter that is loaded',
    changes: [
      {
        symbol: 'Lane.setRow',
        body: `
          void this.#headRuntime.open(headGraph)
          original(row, content)`,
      },
    ],
    test: pains,
    fails: /pains 4 and 12/,
  },
  {
    pain: 13,
    way: 'one queue for all domains, first come, first served',
    changes: [
      {
        symbol: 'Scheduler.submit',
        body: "return original('all', item, { deadline, signal })",
      },
    ],
    test: 'scheduler',
    fails: /pain 13/,
  },
  {
    pain: 14,
    way: 'a metric series for every path that is asked for',
    changes: [{ symbol: 'routeOf', body: 'return request.url' }],
    test: pains,
    fails: /pain 14/,
  },
  {
    pain: 15,
    way: 'a service that was ready once is ready for ever',
    changes: [
      {
        symbol: 'Readiness.check',
        declares: 'let wasReady = false',
        body: `
          if (wasReady) return { ready: true }
          const answer = await original()
          wasReady = answer.ready
          return answer`,
      },
    ],
    test: pains,
    fails: /pain 15/,
  },
]
