/**
 * The principals of a running service: those of environment variables, and those of a token file. The file is
 * read again when it changes, so a token can be rotated or revoked without a restart.
 *
 * The file is polled, because a secret that an orchestrator mounts changes without any signal. A change is
 * accepted when two polls in a row read the same text, so a half-written file is not accepted. A file that
 * cannot be used changes nothing, and the log says why.
 */
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Clock } from '../../concurrency/clock.js'
import { naming } from '../../host/file-problem.js'
import { type Principal, parseTokens, scopes, type TokenVariables, variablePrincipals } from './tokens.js'

/** Milliseconds between two polls of the file. A change takes effect after one or two of them. */
export const POLL_INTERVAL_MS = 2000

export interface TokenSources extends TokenVariables {
  /** Absolute path of a file of `parseTokens`. */
  tokenFile?: string | undefined
}

export class Principals {
  readonly #file: string | undefined
  readonly #fixed: readonly Principal[]
  readonly #clock: Clock
  readonly #logger: Logger
  #current: readonly Principal[] = []
  /** The text whose principals are current. */
  #accepted = ''
  /** The text of the last poll. */
  #seen = ''
  /** The problem that was logged last, so that it is logged once; empty if there is none. */
  #complaint = ''
  #cancel: (() => void) | undefined
  #closed = false

  private constructor(sources: TokenSources, clock: Clock, logger: Logger) {
    this.#file = sources.tokenFile
    this.#fixed = variablePrincipals(sources)
    this.#current = this.#fixed
    this.#clock = clock
    this.#logger = logger
  }

  /**
   * Reads the variables and the file.
   *
   * @throws Error that names the token that cannot be used, or the file and its lines
   */
  static async open(sources: TokenSources, clock: Clock, logger: Logger): Promise<Principals> {
    const principals = new Principals(sources, clock, logger)
    if (sources.tokenFile !== undefined) {
      principals.#seen = await readTokenFile(sources.tokenFile)
      principals.#accept(principals.#seen)
    }
    return principals
  }

  get current(): readonly Principal[] {
    return this.#current
  }

  /** Polls the file from now on, until `close`. */
  watch(): void {
    if (this.#file === undefined || this.#closed) return
    this.#cancel = this.#clock.after(POLL_INTERVAL_MS, () => void this.poll().finally(() => this.watch()))
  }

  /** Reads the file once, and accepts it if the poll before read the same text. Never throws. */
  async poll(): Promise<void> {
    try {
      const text = await readTokenFile(this.#file!)
      const settled = text === this.#seen
      this.#seen = text
      if (text !== this.#accepted) {
        if (!settled) return
        this.#accept(text)
        this.#logger.info({ principals: this.#current.length }, 'token file read again')
      }
      this.#complaint = ''
    } catch (error) {
      const { message } = error as Error
      if (message !== this.#complaint) this.#logger.error({ reason: message }, 'token file not taken')
      this.#complaint = message
    }
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  /** @throws Error if the text is not a token file, or would leave a guarded scope unguarded */
  #accept(text: string): void {
    const next = [...this.#fixed, ...parseTokens(text, this.#file!, this.#fixed)]
    const holds = (list: readonly Principal[], scope: (typeof scopes)[number]) =>
      list.some((principal) => principal.scopes.has(scope))
    const opened = scopes.filter((scope) => holds(this.#current, scope) && !holds(next, scope))
    if (opened.length > 0)
      throw new Error(
        `Token file ${this.#file}: nobody would hold the scope ${opened.join(', ')} any more, which would leave it ` +
          'unguarded. Give it to somebody, or restart the service if that is what you want.',
      )
    this.#current = next
    this.#accepted = text
  }
}

function readTokenFile(path: string): Promise<string> {
  return naming('The token file (--token-file)', path, 'Write it, or leave the option out.', () =>
    readFile(path, 'utf8'),
  )
}
