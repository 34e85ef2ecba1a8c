/**
 * The entry of the launcher: `node launcher.js COMMAND...` starts and kills processes of that command as it is told over
 * its IPC channel (launcher-client.ts), and reports how each ended. Each process gets one stream, on its descriptor 0, of which
 * the other end goes to the service.
 *
 * It imports next to nothing, because it is there to be small: the kernel copies a process's page tables to start
 * another. When the channel closes, it kills what it has started, and ends by itself when that is gone.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { End, Order, Report } from './messages.js'
import { ignoreSignals } from './signals.js'

const [command, ...args] = process.argv.slice(2)
const children = new Map<number, ChildProcess>()

process.on('message', ({ id, what }: Order) => {
  if (what === 'start') start(id)
  else children.get(id)?.kill('SIGKILL')
})
process.on('disconnect', () => {
  for (const child of children.values()) child.kill('SIGKILL')
})
ignoreSignals()
// Its children have ended. Node itself aborts, and leaves a core, where the terminal is gone in which it was started.
process.on('exit', () => process.kill(process.pid, 'SIGKILL'))

function start(id: number): void {
  const over = (end: End) => {
    children.delete(id)
    report({ id, end })
  }
  try {
    const child = spawn(command!, args, { stdio: ['pipe', 'ignore', 'inherit'] })
    child.once('error', ({ message }) => over({ started: false, reason: message }))
    child.once('exit', (code, signal) => over({ started: true, reason: signal ?? `exit ${code}` }))
    if (child.pid === undefined) return
    children.set(id, child)
    // Node makes the pipe as a pair of connected sockets, which carry bytes both ways, and does not read from this end.
    report({ id }, child.stdin as Socket, () => child.kill('SIGKILL'))
  } catch (error) {
    over({ started: false, reason: (error as Error).message })
  }
}

/** @param lost called where the service has gone */
function report(message: Report, stream?: Socket, lost = () => {}): void {
  process.send!(message, stream, {}, (error) => {
    if (error !== null) lost()
  })
}
