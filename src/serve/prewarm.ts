/**
 * Adapters that are loaded before the first request comes (`--prewarm`): those of a list, or those that were resident
 * when the service ended. The latter are kept in a file of the data folder, written every minute and at the end; it is
 * a hint, so that nothing depends on it.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'

/** Domains of the list, the most important first, or `last`: those of the file. */
export type PrewarmList = readonly string[] | 'last'

/** The file in the data folder. */
const FILE = 'resident.json'
/** Milliseconds from one writing to the next. */
const WRITE_MS = 60_000

export interface PrewarmOptions {
  list: PrewarmList
  /** The data folder. */
  data: string
  registry: {
    has(domain: string): boolean
    /** @throws FacetError that says why it cannot be loaded */
    warm(domain: string): Promise<void> | undefined
    /** The most recently asked for first. */
    residentDomains(): string[]
  }
  logger: Pick<Logger, 'info' | 'warn'>
  clock: Clock
}

export class Prewarm {
  readonly #options: PrewarmOptions
  #written = ''
  /** A start that failed knows nothing of what is resident. */
  #begun = false
  #ended = false
  #cancel = () => {}
  /** The last writing: there is one at a time. */
  #writing = Promise.resolve()

  constructor(options: PrewarmOptions) {
    this.#options = options
  }

  /**
   * Loads the domains one after the other, the most important last: it is then the one that leaves last. What cannot be
   * loaded is told in the log, and does not end the start.
   */
  async warm(): Promise<void> {
    const { list, registry, logger, clock } = this.#options
    const domains = list === 'last' ? await this.#read() : list
    if (domains.length === 0) return
    const began = clock.now()
    let loaded = 0
    for (const domain of [...domains].reverse()) {
      // A domain of the last time may have been deleted from the data folder since.
      if (list === 'last' && !registry.has(domain)) continue
      try {
        await registry.warm(domain)
        loaded++
      } catch (error) {
        logger.warn({ domain, reason: (error as Error).message }, 'not prewarmed')
      }
    }
    logger.info({ domains: loaded, ms: clock.now() - began }, 'prewarmed')
  }

  /** From now on the file says what is resident. Only for `last`. */
  begin(): void {
    if (this.#options.list !== 'last' || this.#ended) return
    this.#begun = true
    this.#cancel = this.#options.clock.after(WRITE_MS, () => {
      void this.#write().then(() => this.begin())
    })
  }

  /** Writes the file a last time. */
  async end(): Promise<void> {
    this.#ended = true
    this.#cancel()
    if (this.#begun) await this.#write()
  }

  async #read(): Promise<string[]> {
    try {
      const content: unknown = JSON.parse(await readFile(this.#file, 'utf8'))
      if (!Array.isArray(content)) throw new Error('it is no list')
      return content.filter((id): id is string => typeof id === 'string')
    } catch (error) {
      // There is none at the first start.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.logger.warn({ file: this.#file, reason: (error as Error).message }, 'not prewarmed')
      return []
    }
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeOnce())
    return this.#writing
  }

  async #writeOnce(): Promise<void> {
    const text = `${JSON.stringify(this.#options.registry.residentDomains())}\n`
    if (text === this.#written) return
    try {
      await writeFile(`${this.#file}.new`, text)
      await rename(`${this.#file}.new`, this.#file)
      this.#written = text
    } catch (error) {
      this.#options.logger.warn(
        { file: this.#file, reason: (error as Error).message },
        'what is resident was not written',
      )
    }
  }

  get #file(): string {
    return join(this.#options.data, FILE)
  }
}
