/**
 * One process that decodes, as seen from the service: takes one job at a time, and says why it ended. Knows no other
 * process and no clock.
 *
 * It reads images that were made to take it over, so what it says is checked: one that says anything but a sound answer
 * to its job is killed.
 */
import type { Duplex } from 'node:stream'
import { errorTable, FacetError } from '../../errors.js'
import { FrameReader, frame } from './frames.js'
import type { Child } from './launcher-client.js'
import type { Answer, Job } from './messages.js'

/** Signals by which native code ends that has gone wrong: the image's doing. */
const CRASHES: readonly string[] = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']
/** Most bytes of the head of an answer. */
const MAX_HEAD_BYTES = 64 * 1024

interface Pending {
  /** Bytes of the pixels that are asked for. */
  pixels: number
  resolve(pixels: Uint8Array): void
  reject(error: Error): void
}

export class DecodeProcess {
  /** Resolves with the reason when the process has ended and its stream is closed, or could not start. */
  readonly gone: Promise<string>
  readonly #child: Child
  #stream: Duplex | undefined
  #pending: Pending | undefined
  #alive = true
  #expected = false
  /** What it said that was no sound answer. */
  #breach: string | undefined

  constructor(child: Child) {
    this.#child = child
    void child.stream.then((stream) => this.#connect(stream))
    this.gone = child.end.then(({ started, reason }) => {
      if (!started) this.#fail(unavailable(`cannot start (${reason})`))
      else this.#fail(CRASHES.includes(reason) ? crashed(reason) : unavailable(`ended (${reason})`))
      return this.#breach ?? reason
    })
  }

  /** Whether it may be given a job. */
  get alive(): boolean {
    return this.#alive
  }

  /** Whether its end is in order: we killed it for the time that it took, or it announced its end. */
  get expected(): boolean {
    return this.#expected
  }

  /**
   * @throws FacetError as the decoder does; `decoder_unavailable` or `undecodable_image` where the process ended, or gave
   * no sound answer
   */
  decode(job: Job, bytes: Uint8Array): Promise<Uint8Array> {
    const { height, width } = job.input
    return new Promise((resolve, reject) => {
      if (!this.#alive) return reject(unavailable('ended'))
      this.#pending = { pixels: height * width * 3, resolve, reject }
      void this.#child.stream.then((stream) => {
        if (this.#alive) for (const part of frame(job, bytes)) stream.write(part)
      })
    })
  }

  /** Ends the process at once, whatever it does. @param error what the job in it is answered */
  kill(error: FacetError): void {
    this.#expected = true
    this.#child.kill()
    this.#fail(error)
  }

  #connect(stream: Duplex): void {
    const answers = new FrameReader<unknown>(
      (answer, body) => this.#settle(answer, body),
      (headBytes, bodyBytes) => this.#checkLengths(headBytes, bodyBytes),
    )
    stream.on('data', (chunk: Uint8Array) => {
      try {
        answers.take(chunk)
      } catch (error) {
        this.#distrust((error as Error).message)
      }
    })
    // Writing to a process that has ended; the launcher says why it did.
    stream.on('error', () => {})
    this.#stream = stream
    if (!this.#alive) stream.destroy()
  }

  /** @throws Error */
  #checkLengths(headBytes: number, bodyBytes: number): void {
    if (this.#pending === undefined) throw new Error('an answer without a job')
    if (headBytes > MAX_HEAD_BYTES) throw new Error(`an answer with a head of ${headBytes} bytes`)
    const { pixels } = this.#pending
    if (bodyBytes !== 0 && bodyBytes !== pixels)
      throw new Error(`${bodyBytes} bytes of pixels, not ${pixels}`)
  }

  /** @throws Error */
  #settle(answer: unknown, body: Uint8Array): void {
    const pending = this.#pending!
    if (!isAnswer(answer)) throw new Error('an answer of another form')
    if (body.length !== (answer.ok ? pending.pixels : 0)) throw new Error(`${body.length} bytes of pixels`)
    this.#pending = undefined
    if (answer.ok) {
      pending.resolve(body)
      return
    }
    const { code, message, cause, last } = answer
    pending.reject(new FacetError(code, message, cause === undefined ? {} : { cause: new Error(cause) }))
    // It ends itself, and may be slow to.
    if (last) this.kill(unavailable('ended'))
  }

  /** @param what it said */
  #distrust(what: string): void {
    if (!this.#alive) return
    this.#breach = `killed, as it gave no sound answer: ${what}`
    this.#child.kill()
    this.#fail(unavailable('gave no sound answer'))
  }

  /** Nothing of the image is read any more when this returns: its memory may be freed. */
  #fail(error: FacetError): void {
    this.#alive = false
    this.#stream?.destroy()
    this.#pending?.reject(error)
    this.#pending = undefined
  }
}

function isAnswer(value: unknown): value is Answer {
  const { ok, code, message, cause, last } = (value ?? {}) as Partial<Record<string, unknown>>
  if (ok === true) return true
  return (
    ok === false &&
    typeof code === 'string' &&
    Object.hasOwn(errorTable, code) &&
    typeof message === 'string' &&
    (cause === undefined || typeof cause === 'string') &&
    (last === undefined || last === true)
  )
}

function crashed(reason: string): FacetError {
  const message = `The image made its decoder crash (${reason}); it is damaged, or was made to do that.`
  return new FacetError('undecodable_image', message)
}

function unavailable(what: string): FacetError {
  const message = `The process that decodes the image ${what}. Send the request again.`
  return new FacetError('decoder_unavailable', message, { retryAfter: 1 })
}
