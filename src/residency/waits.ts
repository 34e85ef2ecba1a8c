/** How every wait of this room is limited: by a time, and by the client that may leave. */
import type { Clock } from '../concurrency/clock.js'
import { clientGone } from './failures.js'

export interface WaitLimit {
  clock: Clock
  /** Milliseconds; at once where it is not positive. */
  ms: number
  /** The error for a wait that took longer. */
  expired(): Error
  /** Aborted when the client leaves; the wait then fails with `client_closed` (499). */
  client: AbortSignal | undefined
}

/**
 * Answers as `task` does, or fails as soon as the limit is reached. `task` gets a signal that aborts then, so
 * that it can leave the queues it stands in.
 * @param undo gets what `task` resolves with after the limit was reached
 */
export function within<T>(
  limit: WaitLimit,
  task: (signal: AbortSignal) => Promise<T>,
  undo: (late: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const { clock, ms, expired, client } = limit
    const controller = new AbortController()
    const { signal } = controller
    const leave = () => stop(clientGone())
    const cancelTimer = clock.after(Math.max(0, ms), () => stop(expired()))
    client?.addEventListener('abort', leave, { once: true })
    const end = () => {
      cancelTimer()
      client?.removeEventListener('abort', leave)
    }
    const stop = (error: Error) => {
      end()
      controller.abort(error)
      reject(error)
    }
    task(signal).then(
      (value) => {
        if (signal.aborted) return undo(value)
        end()
        resolve(value)
      },
      (error: unknown) => {
        end()
        reject(error)
      },
    )
  })
}
