/**
 * What the program does as process 1 of a container: it runs itself again, as a child, and watches over it.
 *
 * To the kernel process 1 is `init`: signals have no default actions there, and nothing inside the container can kill
 * it, not even itself with SIGKILL. A service that is process 1 could then not end while a thread of it hangs. Its
 * child can, and the parent, which does nothing else, ends it with SIGKILL when it is late. Where something else is
 * process 1 (`docker run --init`, the image's own tini) none of this runs.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

const passedOn = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const

/** Milliseconds for a child that still starts to end after a signal. */
const START_MS = 800

/** What the service tells its parent: how long it may take to end, ms. */
interface Told {
  endsWithinMs: number
}

/** Runs this program as a child, passes signals on to it, and ends with its exit code. */
export function runAsInit(): void {
  const args = [...process.execArgv, ...process.argv.slice(1)]
  const child = spawn(process.execPath, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
  let endsWithinMs = START_MS
  /** When the first signal came, ms. */
  let since: number | undefined
  /** Kills the child when it is late. A child that was about to serve may have told its time only now. */
  const watch = (since: number) => {
    const left = since + endsWithinMs - performance.now()
    if (left > 0) return void setTimeout(() => watch(since), left)
    process.stderr.write(`facet: not ended ${endsWithinMs} ms after the first signal: killed.\n`)
    child.kill('SIGKILL')
  }
  child.on('message', (told: Told) => {
    endsWithinMs = told.endsWithinMs
  })
  for (const signal of passedOn)
    process.on(signal, () => {
      child.kill(signal)
      if (since !== undefined) return
      since = performance.now()
      watch(since)
    })
  child.once('exit', (code, signal) => {
    process.exit(code ?? 128 + constants.signals[signal!])
  })
  child.once('error', (error) => {
    process.stderr.write(`facet: the service could not be started: ${error.message}\n`)
    process.exit(1)
  })
}

/** Tells the parent, where there is one that watches, how long an orderly stop takes at most. */
export function tellInit(endsWithinMs: number): void {
  const told: Told = { endsWithinMs }
  process.send?.(told)
}
