/**
 * Who may call a running service: the principals of its variables, and those of a token file that is read
 * again when it changes, so that a token is rotated or revoked without a restart.
 *
 * The file is looked at on a timer and not on a signal: a secret that an orchestrator mounts changes without
 * one. Two looks must agree before a change is taken, so that a file that is being written is not. A file
 * that cannot be used changes nothing, and the log says why.
 */
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Clock } from '../../concurrency/clock.js'
import { naming } from '../../host/file-problem.js'
import { type Principal, parseTokens, scopes, type TokenVariables, variablePrincipals } from './tokens.js'

/** Milliseconds between two looks at the file. A change takes effect after one to two of them. */
export const LOOK_EVERY_MS = 2000

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
  #taken = ''
  /** The text of the last look. */
  #seen = ''
  /** What was last logged as wrong, so that it is logged once; empty when nothing is. */
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

  /** Reads what there is.
   * @throws Error that names the token, or the file and its lines, that cannot be used. */
  static async open(sources: TokenSources, clock: Clock, logger: Logger): Promise<Principals> {
    const principals = new Principals(sources, clock, logger)
    if (sources.tokenFile !== undefined) {
      principals.#seen = await readTokenFile(sources.tokenFile)
      principals.#take(principals.#seen)
    }
    return principals
  }

  get current(): readonly Principal[] {
    return this.#current
  }

  /** From now on the file is looked at until `close`. */
  watch(): void {
    if (this.#file === undefined || this.#closed) return
    this.#cancel = this.#clock.after(LOOK_EVERY_MS, () => void this.look().finally(() => this.watch()))
  }

  /** Looks at the file once; takes what it says if the look before saw the same. Never throws. */
  async look(): Promise<void> {
    try {
      const text = await readTokenFile(this.#file!)
      const settled = text === this.#seen
      this.#seen = text
      if (text !== this.#taken) {
        if (!settled) return
        this.#take(text)
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

  /** @throws Error where the text is no token file, or where it would open what is guarded. */
  #take(text: string): void {
    const next = [...this.#fixed, ...parseTokens(text, this.#file!)]
    const holds = (list: readonly Principal[], scope: (typeof scopes)[number]) =>
      list.some((principal) => principal.scopes.has(scope))
    const opened = scopes.filter((scope) => holds(this.#current, scope) && !holds(next, scope))
    if (opened.length > 0)
      throw new Error(
        `Token file ${this.#file}: nobody would hold the scope ${opened.join(', ')} any more, which would leave it ` +
          'unguarded. Give it to somebody, or restart the service if that is what you want.',
      )
    this.#current = next
    this.#taken = text
  }
}

function readTokenFile(path: string): Promise<string> {
  return naming('The token file (--token-file)', path, 'Write it, or leave the option out.', () =>
    readFile(path, 'utf8'),
  )
}
