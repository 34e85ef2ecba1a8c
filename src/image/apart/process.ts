/**
 * One process that decodes, as seen from the service: takes one job at a time, and says why it ended. Knows no other
 * process and no clock.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { FacetError } from '../../errors.js'
import { FrameReader, frame } from './frames.js'
import type { Answer, Job } from './messages.js'

export type Child = ChildProcessByStdio<Writable, Readable, null>

/** Environment variables that the process keeps: of the loader and the allocator. It gets no token. */
const KEPT_VARIABLES = /^(LD_PRELOAD|LD_LIBRARY_PATH|GLIBC_TUNABLES|MALLOC_[A-Z_]+)$/
/** Signals by which native code ends that has gone wrong: the image's doing. */
const CRASHES: readonly (string | null)[] = ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']

/** @param flags of Node; those of this process are not handed on */
export function startChild(flags: readonly string[] = []): Child {
  return spawn(process.execPath, [...flags, fileURLToPath(new URL('./decoder.js', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: environment(process.env),
  })
}

export function environment(all: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(all).filter(([name]) => KEPT_VARIABLES.test(name)))
}

export class DecodeProcess {
  /** Resolves with the reason when the process has ended and its pipes are closed, or could not start. */
  readonly gone: Promise<string>
  readonly #child: Child
  #pending: { resolve(pixels: Uint8Array): void; reject(error: Error): void } | undefined
  #alive = true
  #expected = false

  constructor(child: Child) {
    this.#child = child
    const answers = new FrameReader<Answer>((answer, body) => this.#settle(answer, body))
    child.stdout.on('data', (chunk: Uint8Array) => answers.take(chunk))
    // Writing to a process that has ended; `close` says why it did.
    child.stdin.on('error', () => {})
    this.gone = new Promise((resolve) => {
      const end = (reason: string, error: FacetError) => {
        this.#fail(error)
        resolve(reason)
      }
      child.once('error', (error) => end(error.message, unavailable(`cannot start (${error.message})`)))
      child.once('close', (code, signal) => {
        const reason = signal ?? `exit ${code}`
        end(reason, CRASHES.includes(signal) ? crashed(reason) : unavailable(`ended (${reason})`))
      })
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
      for (const part of frame(job, bytes)) this.#child.stdin.write(part)
    })
  }

  /** Ends the process at once, whatever it does. @param error what the job in it is answered */
  kill(error: FacetError): void {
    this.#expected = true
    this.#child.kill('SIGKILL')
    this.#fail(error)
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
    this.#child.stdin.destroy()
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
