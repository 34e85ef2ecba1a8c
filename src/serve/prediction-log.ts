/**
 * The prediction log: a line of JSON for each image that was classified, in a file that is rotated by size. For drift
 * monitors and for looking up what a customer was told. Off unless asked for; images are never in it.
 *
 * Answers do not wait for it. Where the disk does not take lines, they are dropped and the service's log says how many.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createStream, type RotatingFileStream } from 'rotating-file-stream'
import type { Clock } from '../concurrency/clock.js'
import type { ServeConfig } from '../config/config.js'
import { naming } from '../host/file-problem.js'
import type { PredictionRecorder } from '../http/exchange/deps.js'
import type { PredictResult } from '../predict/predictor.js'
import { best, shortest } from '../predict/scores.js'

/** Lines that wait for the disk, bytes. Any more are dropped. */
const MAX_WAITING_BYTES = 8 * 2 ** 20
/** After an error, milliseconds until the file is opened again. */
const OPEN_AGAIN_MS = 10_000
/** One line of the service's log in this time, ms, says that lines are dropped. */
const ONE_WARNING_MS = 60_000
/** Readable by the service's user alone: lines tell what customers' images show. */
const MODE = 0o600

export interface PredictionLogOptions {
  path: string
  /** A file of so many bytes is rotated. */
  bytes: number
  /** Rotated files that are kept: `path.1` is the newest. */
  files: number
  logger: Pick<Logger, 'warn'>
  clock: Clock
}

export class PredictionLog implements PredictionRecorder {
  readonly #options: PredictionLogOptions
  #stream: RotatingFileStream | undefined
  /** `clock.now()` of the last error. */
  #failedAt = Number.NEGATIVE_INFINITY
  /** Lines that were dropped, until it is told. */
  #dropped = 0
  #toldAt = Number.NEGATIVE_INFINITY
  /** Made one after the other: with many classes a line takes a while. */
  readonly #lines: { result: PredictResult; time: string; requestId: string }[] = []
  #making = Promise.resolve()

  private constructor(options: PredictionLogOptions) {
    this.#options = options
  }

  /** @throws Error that names the file where it cannot be written */
  static async open(options: PredictionLogOptions): Promise<PredictionLog> {
    const remedy = 'Name a file in a folder that the service may write to.'
    const handle: FileHandle = await naming(
      'The prediction log (--prediction-log)',
      options.path,
      remedy,
      () => open(options.path, 'a', MODE),
    )
    await handle.close()
    return new PredictionLog(options)
  }

  record(requestId: string, results: readonly PredictResult[]): void {
    const stream = this.#stream ?? this.#open()
    if (stream === undefined || stream.writableLength > MAX_WAITING_BYTES) {
      this.#dropped += results.length
      if (stream !== undefined) this.#tellDropped()
      return
    }
    const time = this.#options.clock.date().toISOString()
    this.#lines.push(...results.map((result) => ({ result, time, requestId })))
    if (this.#lines.length === results.length) this.#making = this.#make()
  }

  async #make(): Promise<void> {
    for (let line = this.#lines[0]; line !== undefined; line = this.#lines[0]) {
      if (this.#stream === undefined) this.#dropped++
      else this.#stream.write(lineOf(line.result, line.time, line.requestId))
      this.#lines.shift()
      await setImmediate()
    }
  }

  #tellDropped(): void {
    const { clock, logger } = this.#options
    if (this.#dropped === 0 || clock.now() - this.#toldAt < ONE_WARNING_MS) return
    this.#toldAt = clock.now()
    logger.warn({ lines: this.#dropped }, 'predictions were not logged')
    this.#dropped = 0
  }

  /** Resolves when all lines are written. */
  async close(): Promise<void> {
    await this.#making
    this.#toldAt = Number.NEGATIVE_INFINITY
    this.#tellDropped()
    const stream = this.#stream
    this.#stream = undefined
    if (stream === undefined) return
    await new Promise<void>((resolve) => {
      stream.once('close', resolve)
      stream.end()
    })
  }

  #open(): RotatingFileStream | undefined {
    const { path, bytes, files, clock, logger } = this.#options
    if (clock.now() - this.#failedAt < OPEN_AGAIN_MS) return undefined
    this.#tellDropped()
    const stream = createStream(basename(path), {
      path: dirname(path),
      size: `${bytes}B`,
      rotate: files,
      mode: MODE,
    })
    const failed = (error: Error) => {
      if (this.#stream !== stream) return
      this.#stream = undefined
      this.#failedAt = clock.now()
      logger.warn({ reason: error.message }, 'the prediction log cannot be written')
    }
    stream.on('error', failed)
    this.#stream = stream
    return stream
  }
}

/** The log that the options ask for, if any. @throws Error as `PredictionLog.open` */
export async function openPredictionLog(
  {
    predictionLog: path,
    predictionLogSize: bytes,
    predictionLogFiles: files,
  }: Pick<ServeConfig, 'predictionLog' | 'predictionLogSize' | 'predictionLogFiles'>,
  parts: Pick<PredictionLogOptions, 'logger' | 'clock'>,
): Promise<PredictionLog | undefined> {
  return path === undefined ? undefined : PredictionLog.open({ path, bytes, files, ...parts })
}

/** One line; the keys are in docs/operate.md. */
function lineOf(
  { domain, version, labels, activation, logits }: PredictResult,
  time: string,
  requestId: string,
): string {
  const { index, score } = best(logits!, activation)
  return `${JSON.stringify({ time, requestId, domain, version, label: labels![index], index, score: shortest(score) })}\n`
}
