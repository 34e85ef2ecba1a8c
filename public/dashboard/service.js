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
 * @property {number} tokens how often a token was given or forgotten
 *
 * @typedef {'about' | 'listing' | 'counters'} Part of the state, which is read on its own
 */

const EVERY_MS = 2000
/** The listing is read with every fifth reading: it is long where there are many domains. */
const LISTING_EVERY = 5
const PAGE = 1000
/** A reading that takes longer is given up, and the next one asks again. */
const PATIENCE_MS = 15_000

/** What is known before anything was read. @type {Omit<State, 'tokens'>} */
const NOTHING = {
  families: null,
  domains: [],
  readings: [],
  failure: null,
  metricsFailure: null,
  cards: new Map(),
  version: '',
}

export class Service {
  /** @type {State} */
  state = { ...NOTHING, tokens: 0 }
  /** @type {Set<() => void>} */
  #listeners = new Set()
  #api
  #round = 0
  /** Reads so far. */
  #turn = 0
  /** The read that each part of the state is of: what an earlier one brings later is dropped. @type {Record<Part, number>} */
  #from = { about: 0, listing: 0, counters: 0 }
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
      if (!document.hidden) await this.#read({ listing: this.#round++ % LISTING_EVERY === 0, counters: true })
      // Another round may have begun meanwhile, by the page being shown.
      clearTimeout(timer)
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

  /** Reads families and domains after a change. Counters have their own pace. */
  refresh() {
    this.#set({ failure: null })
    return this.#read({ listing: true, counters: false })
  }

  /** Forgets everything and reads it anew: with another token the service may show something else. */
  renew() {
    const turn = ++this.#turn
    this.#from = { about: turn, listing: turn, counters: turn }
    this.#asked = new Set()
    this.#set({ ...NOTHING, version: this.state.version, tokens: this.state.tokens + 1 })
    return this.#read({ listing: true, counters: true })
  }

  /** What was refused is not asked for again until there may be another token.
   * @param {{ listing: boolean, counters: boolean }} what the domains, and the counters, beside the families */
  async #read({ listing, counters }) {
    const turn = ++this.#turn
    const { failure, metricsFailure } = this.state
    await Promise.all([
      isRefusal(failure) || this.#readAbout(turn, listing),
      counters && !isRefusal(metricsFailure) && this.#readCounters(turn),
    ])
  }

  /** @param {number} turn @param {boolean} listing */
  async #readAbout(turn, listing) {
    try {
      const [{ families }, domains, version] = await Promise.all([
        this.#poll('v1/families'),
        listing ? this.#domains() : null,
        this.state.version || this.#version(),
      ])
      this.#set({
        ...(this.#isNewest('about', turn) && { families, version, failure: null }),
        ...(domains !== null && this.#isNewest('listing', turn) && { domains }),
      })
    } catch (error) {
      if (this.#isNewest('about', turn))
        this.#set({ failure: /** @type {import('./api.js').ApiError} */ (error) })
    }
  }

  /** @param {number} turn */
  async #readCounters(turn) {
    try {
      const text = await this.#api.text('metrics', { signal: AbortSignal.timeout(PATIENCE_MS) })
      if (!this.#isNewest('counters', turn)) return
      const readings = withReading(this.state.readings, readingOf(text, performance.now() / 1000))
      this.#set({ readings, metricsFailure: null })
    } catch (error) {
      if (this.#isNewest('counters', turn))
        this.#set({ metricsFailure: /** @type {import('./api.js').ApiError} */ (error) })
    }
  }

  /** Whether no later read has brought this part; from then on it is this read's. @param {Part} part @param {number} turn */
  #isNewest(part, turn) {
    if (turn < this.#from[part]) return false
    this.#from[part] = turn
    return true
  }

  /** @param {string} path @param {Record<string, string>} [headers] @returns {Promise<any>} */
  #poll(path, headers = {}) {
    return this.#api.json(path, { headers, signal: AbortSignal.timeout(PATIENCE_MS) })
  }

  async #version() {
    const { version } = await this.#poll('', { accept: 'application/json' })
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
      const page = await this.#poll(`v1/domains?limit=${PAGE}${from}`)
      all.push(...page.domains)
      cursor = page.next_cursor
    } while (cursor !== null)
    return all
  }

  /** Reads what the packs of these domains say of themselves, one after the other; each version once.
   * @param {readonly import('./types.js').Domain[]} domains */
  async readCards(domains) {
    const { tokens } = this.state
    for (const { domain, version } of domains) {
      if (tokens !== this.state.tokens) return
      if (version === null || this.#asked.has(version)) continue
      this.#asked.add(version)
      try {
        const { card } = await this.#poll(domainPath(domain))
        if (card && tokens === this.state.tokens)
          this.#set({ cards: new Map([...this.state.cards, [version, card]]) })
      } catch {
        // It was deleted meanwhile, or cannot be read; asked again with the next listing.
        if (tokens === this.state.tokens) this.#asked.delete(version)
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
