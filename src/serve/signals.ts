/**
 * SIGTERM, SIGINT and SIGHUP, from the program's first lines to its end. Imports nothing, so that it is loaded at once.
 *
 * | when                      | what a signal does                                                    |
 * |---------------------------|-----------------------------------------------------------------------|
 * | the service starts        | ends the process at once: nothing was served, and the store survives it |
 * | it serves                 | the first one stops the service in order                              |
 * | it stops                  | the next one ends the process at once                                 |
 * | it has stopped for SIGHUP | the process ends by it: Node itself aborts where its terminal is gone |
 *
 * To end at once, the handlers are removed and the signal is sent again: its default action ends a process with all
 * its threads whatever they do, and a shell shows 143, 130 or 129. `process.exit` would wait for a thread inside a run, or
 * abort there (docs/decisions/0001-onnxruntime-in-worker-threads.md). Process 1 has no default actions: that the
 * service never is process 1 is `init.ts`'s business.
 */

/** SIGHUP comes when the terminal is closed in which the service was started; Node ends at it under `nohup` too. */
const stopSignals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
export type StopSignal = (typeof stopSignals)[number]

/**
 * Milliseconds in which a second signal counts as the first one: on Ctrl-C a terminal signals the whole process group,
 * and npm passes the signal on once more.
 */
const SAME_SIGNAL_MS = 500

/**
 * Takes from SIGUSR1 what it does in Node by default: it opens a debugger on 127.0.0.1:9229, where every user of the
 * machine could run code in this process.
 */
export function refuseDebugger(): void {
  process.on('SIGUSR1', () => {})
}

export class StopSignals {
  #stop: ((signal: StopSignal) => void) | undefined
  /** When the orderly stop began, ms. */
  #stopping: number | undefined

  /** Takes the signals over, for a service that starts. */
  listen(): void {
    for (const signal of stopSignals) process.on(signal, this.#receive)
  }

  /** The service is up. @param stop called once, with the first signal */
  serving(stop: (signal: StopSignal) => void): void {
    this.#stop = stop
  }

  readonly #receive = (signal: StopSignal): void => {
    if (this.#stop === undefined) {
      process.stderr.write(`facet: ${signal} while starting: ended.\n`)
      this.end(signal)
    } else if (this.#stopping === undefined) {
      this.#stopping = performance.now()
      this.#stop(signal)
    } else if (performance.now() - this.#stopping >= SAME_SIGNAL_MS) this.end(signal)
  }

  /** Ends the process at once, by the signal. */
  end(signal: StopSignal): void {
    for (const each of stopSignals) process.removeListener(each, this.#receive)
    process.kill(process.pid, signal)
  }
}
