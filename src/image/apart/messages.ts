/** What the service, a process that decodes (frames.ts) and the launcher (over its IPC channel) say to each other. */
import type { ErrorCode } from '../../errors.js'
import type { InputSpec } from '../../manifest/manifest.js'

/** The head of a job. Its body is the encoded image, of which the header has been read and accepted. */
export interface Job {
  input: InputSpec
  /** CPU time after which the process gives up the image and itself, ms. */
  cpuMs: number
}

/** The head of an answer. Its body is the pixels, or nothing where there are none. */
export type Answer =
  | { ok: true }
  | {
      ok: false
      code: ErrorCode
      message: string
      /** Text of the error behind it, for the log. */
      cause?: string
      /** The process takes no job after this answer: it ends itself. */
      last?: true
    }

/** What the launcher is asked to do with the process of this number. */
export interface Order {
  id: number
  what: 'start' | 'kill'
}

/** How a process ended: its signal or exit code, or why it could not be started. */
export interface End {
  started: boolean
  reason: string
}

/** That a process runs, with its stream as the message's handle; or how it ended. */
export interface Report {
  id: number
  end?: End
}
