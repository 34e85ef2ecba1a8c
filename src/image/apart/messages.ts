/** What the service and a process that decodes say to each other (frames.ts). */
import type { ErrorCode } from '../../errors.js'
import type { InputSpec } from '../../manifest/manifest.js'

/** The head of a job. Its body is the encoded image, of which the header has been read and accepted. */
export interface Job {
  input: InputSpec
  /** CPU time after which the process gives up the image and itself, ms. */
  cpuMs: number
}

/** The head of an answer. Its body is the pixels, or nothing where the image was refused. */
export type Answer = { ok: true } | { ok: false; code: ErrorCode; message: string }
