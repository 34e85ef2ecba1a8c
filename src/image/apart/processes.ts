/**
 * Decodes images in processes that can be killed: at the request's deadline, and after so much CPU time. For codecs that
 * decode an image in one step of native code, which nothing else ends
 * (docs/decisions/0023-decoding-that-can-be-ended.md).
 *
 * A process is started when an image needs one and all are busy, so there are no more than images that are decoded at
 * once, and is ended when it has nothing to do for a while. A decode gets one second beyond its deadline (`GRACE_MS`): to
 * kill a process that is nearly done would make the next image wait for a new one.
 */
import type { Clock } from '../../concurrency/clock.js'
import { clientClosed, draining } from '../../errors.js'
import type { InputSpec } from '../../manifest/manifest.js'
import type { DecodeOptions } from '../decode.js'
import { tooSlow } from '../headers/failures.js'
import { MAX_CPU_MS, MAX_DECODE_MS } from '../limits.js'
import type { Starter } from './launcher-client.js'
import { DecodeProcess } from './process.js'

export interface DecodeProcessesOptions {
  clock: Clock
  launcher: Starter
  /** Most CPU time of an image, ms; `MAX_CPU_MS` unless told. */
  cpuMs?: number
  /** Told when a process has ended that was not ended by us. */
  ended?: (reason: string) => void
}

/** A process is ended after so long without work. */
const IDLE_MS = 30_000
/** How long after its deadline a decode may still end by itself. */
const GRACE_MS = 1000

export class DecodeProcesses {
  readonly #options: DecodeProcessesOptions
  readonly #all = new Set<DecodeProcess>()
  /** Those without a job, the last used last, each with what cancels its end. */
  readonly #idle: { decoder: DecodeProcess; cancel: () => void }[] = []
  #stopped = false

  constructor(options: DecodeProcessesOptions) {
    this.#options = options
  }

  /** Processes that run and were not ended by us. */
  get size(): number {
    return [...this.#all].filter(({ alive }) => alive).length
  }

  /**
   * Decodes as `OpenImage.decode` does.
   *
   * @throws FacetError the same; `image_too_large` after too much CPU time, `undecodable_image` where the image makes
   * its decoder crash, `decoder_unavailable` where a process cannot be started, is killed by somebody else or gives no
   * sound answer
   */
  async decode(
    bytes: Uint8Array,
    input: InputSpec,
    { signal, timeoutMs = MAX_DECODE_MS }: DecodeOptions = {},
  ): Promise<Uint8Array> {
    if (signal?.aborted) throw clientClosed()
    const { clock, cpuMs = MAX_CPU_MS } = this.#options
    const decoder = this.#take()
    const cancel = clock.after(timeoutMs + GRACE_MS, () => decoder.kill(tooSlow()))
    try {
      return await decoder.decode({ input, cpuMs }, bytes)
    } finally {
      cancel()
      this.#giveBack(decoder)
    }
  }

  /** Ends all processes. Images in them get 503, and so do those that come later. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const { cancel } of this.#idle.splice(0)) cancel()
    for (const decoder of this.#all) decoder.kill(draining())
    await this.#options.launcher.stop()
  }

  #take(): DecodeProcess {
    if (this.#stopped) throw draining()
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      idle.cancel()
      if (idle.decoder.alive) return idle.decoder
    }
    return this.#start()
  }

  #start(): DecodeProcess {
    const { launcher, ended } = this.#options
    const decoder = new DecodeProcess(launcher.start())
    this.#all.add(decoder)
    void decoder.gone.then((reason) => {
      this.#all.delete(decoder)
      if (!decoder.expected) ended?.(reason)
    })
    return decoder
  }

  #giveBack(decoder: DecodeProcess): void {
    if (!decoder.alive || this.#stopped) return
    const idle = { decoder, cancel: () => {} }
    idle.cancel = this.#options.clock.after(IDLE_MS, () => {
      this.#idle.splice(this.#idle.indexOf(idle), 1)
      decoder.kill(draining())
    })
    this.#idle.push(idle)
  }
}
