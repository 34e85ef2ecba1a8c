/**
 * One process that decodes, as seen from the service: takes one job at a time, and says why it ended. Knows no other
 * process and no clock.
 */
import type { Duplex } from 'node:stream'
import { FacetError } from '../../errors.js'
import { FrameReader, frame } from './frames.js'
import type { Child } from './launches.js'
import type { Answer, Job } from './messages.js'

/** Signals by which native code ends that has gone wrong: the image's doing. */
const CRASHES: readonly string[] = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']

export class DecodeProcess {
  /** Resolves with the reason when the process has ended and its stream is closed, or could not start. */
  readonly gone: Promise<string>
  readonly #child: Child
  #stream: Duplex | undefined
  #pending: { resolve(pixels: Uint8Array): void; reject(error: Error): void } | undefined
  #alive = true
  #expected = false

  constructor(child: Child) {
    this.#child = child
    void child.stream.then((stream) => this.#connect(stream))
    this.gone = child.end.then(({ started, reason }) => {
      if (!started) this.#fail(unavailable(`cannot start (${reason})`))
      else this.#fail(CRASHES.includes(reason) ? crashed(reason) : unavailable(`ended (${reason})`))
      return reason
    })
  }

  /** Whether it may be given a job. */
  get alive(): boolean {
    return this.#alive
  }

  /** Whether it was killed by us. */
  get expected(): boolean {
    return this.#expected
  }

  /** @throws FacetError as the decoder does; `decoder_unavailable` or `undecodable_image` where the process ended */
  decode(job: Job, bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) return reject(unavailable('ended'))
      this.#pending = { resolve, reject }
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
    const answers = new FrameReader<Answer>((answer, body) => this.#settle(answer, body))
    stream.on('data', (chunk: Uint8Array) => answers.take(chunk))
    // Writing to a process that has ended; the launcher says why it did.
    stream.on('error', () => {})
    this.#stream = stream
    if (!this.#alive) stream.destroy()
  }

  #settle(answer: Answer, pixels: Uint8Array): void {
    const pending = this.#pending
    this.#pending = undefined
    if (answer.ok) pending?.resolve(pixels)
    else pending?.reject(new FacetError(answer.code, answer.message))
  }

  /** Nothing of the image is read any more when this returns: its memory may be freed. */
  #fail(error: FacetError): void {
    this.#alive = false
    this.#stream?.destroy()
    this.#pending?.reject(error)
    this.#pending = undefined
  }
}

function crashed(reason: string): FacetError {
  const message = `The image made its decoder crash (${reason}); it is damaged, or was made to do that.`
  return new FacetError('undecodable_image', message)
}

function unavailable(what: string): FacetError {
  const message = `The process that decodes the image ${what}. Send the request again.`
  return new FacetError('decoder_unavailable', message, { retryAfter: 1 })
}
