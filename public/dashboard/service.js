/**
 * What the page knows of the service, read again every few seconds while the page is looked at. Views subscribe and draw
 * `state` as it is; it is replaced, never changed.
 */
import { domainPath } from './api.js'
import { readingOf, withReading } from './live.js'

/**
 * @typedef {object} State
 * @property {import('./types.js').Family[] | null} families null until they were read
 * @property {import('./types.js').Domain[]} domains
 * @property {import('./live.js').Reading[]} readings
 * @property {import('./api.js').ApiError | null} failure why families or domains cannot be read
 * @property {import('./api.js').ApiError | null} metricsFailure why the counters cannot be read
 * @property {ReadonlyMap<string, import('./types.js').Card>} cards by version
 * @property {string} version of the software
 */

const EVERY_MS = 2000
/** The listing is read with every fifth reading: it is long where there are many domains. */
const LISTING_EVERY = 5
const PAGE = 1000

export class Service {
  /** @type {State} */
  state = {
    families: null,
    domains: [],
    readings: [],
    failure: null,
    metricsFailure: null,
    cards: new Map(),
    version: '',
  }
  /** @type {Set<() => void>} */
  #listeners = new Set()
  #api
  #round = 0
  /** Versions whose cards were asked for. @type {Set<string>} */
  #asked = new Set()

  /** @param {import('./api.js').Api} api */
  constructor(api) {
    this.#api = api
  }

  /** @param {() => void} listener @returns {() => void} ends it */
  subscribe(listener) {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Reads now and from then on, while the page is visible. @returns {() => void} ends it */
  start() {
    let timer = 0
    let ended = false
    const round = async () => {
      clearTimeout(timer)
      if (!document.hidden) await this.#read(this.#round++ % LISTING_EVERY === 0)
      if (!ended) timer = setTimeout(round, EVERY_MS)
    }
    const shown = () => {
      if (!document.hidden) void round()
    }
    document.addEventListener('visibilitychange', shown)
    void round()
    return () => {
      ended = true
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', shown)
    }
  }

  /** Reads everything again, also what was refused. */
  refresh() {
    this.#set({ failure: null, metricsFailure: null })
    return this.#read(true)
  }

  /** What was refused is not asked for again until there may be another token. @param {boolean} listing the domains too */
  async #read(listing) {
    const { failure, metricsFailure } = this.state
    const [about, counters] = await Promise.all([
      isRefusal(failure) ? {} : this.#readAbout(listing),
      isRefusal(metricsFailure) ? {} : this.#readCounters(),
    ])
    this.#set({ ...about, ...counters })
  }

  /** @param {boolean} listing @returns {Promise<Partial<State>>} */
  async #readAbout(listing) {
    try {
      const [{ families }, domains, version] = await Promise.all([
        this.#api.json('v1/families'),
        listing ? this.#domains() : this.state.domains,
        this.state.version || this.#version(),
      ])
      return { families, domains, version, failure: null }
    } catch (error) {
      return { failure: /** @type {import('./api.js').ApiError} */ (error) }
    }
  }

  /** @returns {Promise<Partial<State>>} */
  async #readCounters() {
    try {
      const text = await (await this.#api.send('metrics')).text()
      const readings = withReading(this.state.readings, readingOf(text, performance.now() / 1000))
      return { readings, metricsFailure: null }
    } catch (error) {
      return { metricsFailure: /** @type {import('./api.js').ApiError} */ (error) }
    }
  }

  async #version() {
    const { version } = await this.#api.json('', { headers: { accept: 'application/json' } })
    return version
  }

  /** All pages of the listing. */
  async #domains() {
    /** @type {import('./types.js').Domain[]} */
    const all = []
    /** @type {string | null} */
    let cursor = null
    do {
      const from = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const page = await this.#api.json(`v1/domains?limit=${PAGE}${from}`)
      all.push(...page.domains)
      cursor = page.next_cursor
    } while (cursor !== null)
    return all
  }

  /** Reads what the packs of these domains say of themselves, one after the other; each version once.
   * @param {readonly import('./types.js').Domain[]} domains */
  async readCards(domains) {
    for (const { domain, version } of domains) {
      if (version === null || this.#asked.has(version)) continue
      this.#asked.add(version)
      try {
        const { card } = await this.#api.json(domainPath(domain))
        if (card) this.#set({ cards: new Map([...this.state.cards, [version, card]]) })
      } catch {
        // It was deleted meanwhile, or cannot be read; asked again with the next listing.
        this.#asked.delete(version)
      }
    }
  }

  /** @param {Partial<State>} change */
  #set(change) {
    this.state = { ...this.state, ...change }
    for (const listener of this.#listeners) listener()
  }
}

/** @param {import('./api.js').ApiError | null} error */
function isRefusal(error) {
  return error?.status === 401 || error?.status === 403
}
